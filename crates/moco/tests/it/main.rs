//! Integration tests: golden vectors from PyTorch, and small runs from end to end.

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
mod vit;
