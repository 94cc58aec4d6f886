//! The loops against fakes of all ports: the delivery rules, one test each.

mod charts;
mod elsewhere;
mod fakes;
mod given;
mod killed;
mod listed;
mod own;
mod parting;
mod planes;
mod policies;
mod rules;
mod settings;
