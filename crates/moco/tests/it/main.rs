//! Integration tests: golden vectors from PyTorch, and small runs from end to end.

mod cpc;
mod dino;
mod golden;
mod layers;
mod loss;
mod mae;
mod moco_method;
mod norm;
mod optim;
mod probes;
mod resnet;
mod runs;
mod swav;
mod vit;
