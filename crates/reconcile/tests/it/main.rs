//! The loops against fakes of all ports: the delivery rules, one test each.

mod charts;
mod elsewhere;
mod fakes;
mod killed;
mod own;
mod planes;
mod policies;
mod rules;
mod settings;
