// Draw with the crate rand's StdRng and WeightedIndex, as candle's LogitsProcessor does.
// Reads lines `seed draws weights...`, the weights as the hex words of their floats; writes a line of JSON for each:
// the first outputs of the generator and the places that were drawn. README.md says how to build it.

use rand::distributions::{Distribution, WeightedIndex};
use rand::{RngCore, SeedableRng};
use std::io::{self, BufRead};

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut fields = line.split_whitespace();
        let seed: u64 = fields.next().unwrap().parse().unwrap();
        let draws: usize = fields.next().unwrap().parse().unwrap();
        let weights: Vec<f32> = fields
            .map(|word| f32::from_bits(u32::from_str_radix(word, 16).unwrap()))
            .collect();
        let mut generator = rand::rngs::StdRng::seed_from_u64(seed);
        let mut copy = generator.clone();
        let words: Vec<u32> = (0..20).map(|_| copy.next_u32()).collect();
        let index = WeightedIndex::new(&weights).unwrap();
        let places: Vec<usize> = (0..draws).map(|_| index.sample(&mut generator)).collect();
        println!("{{\"words\":{words:?},\"places\":{places:?}}}");
    }
}
