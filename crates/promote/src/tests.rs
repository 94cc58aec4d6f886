mod configuration;
mod configured;
mod evidence;
mod gates;
mod random;
mod releases;
mod scenarios;
mod world;
