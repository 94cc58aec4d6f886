mod configuration;
mod configured;
mod gates;
mod random;
mod releases;
mod scenarios;
mod world;
