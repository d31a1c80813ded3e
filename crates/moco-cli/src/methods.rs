//! `moco methods`: the family, one block each.

use moco::methods::{self, Card, Spec};

/// Prints what there is to know before trying a method.
pub fn run() {
    for Card { name, paper, idea, state, batch } in methods::all().into_iter().map(Spec::card) {
        println!("{name:<12}{idea}");
        println!("{:<12}paper: {paper}", "");
        println!("{:<12}carries {state}; batch: {batch}\n", "");
    }
    println!("moco pretrain --method NAME --data IMAGES --out DIR   trains one");
    println!("moco compare --data IMAGES --methods A,B --out DIR    trains and measures several");
}
