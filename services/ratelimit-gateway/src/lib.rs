#![doc = include_str!("../README.md")]

mod gate;
mod rules;
