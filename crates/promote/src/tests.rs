mod configuration;
mod gates;
mod random;
mod releases;
mod scenarios;
mod world;
