mod random;
mod scenarios;
mod world;
