mod configuration;
mod random;
mod scenarios;
mod world;
