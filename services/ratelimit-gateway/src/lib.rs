#![doc = include_str!("../README.md")]

mod door;
mod gate;
mod rules;
