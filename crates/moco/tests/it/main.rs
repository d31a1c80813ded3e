//! Integration tests: golden vectors from PyTorch, and small runs from end to end.

mod cmc;
mod cpc;
mod dino;
mod golden;
mod instdisc;
mod invaspread;
mod layers;
mod loss;
mod mae;
mod moco_method;
mod norm;
mod optim;
mod probes;
mod resnet;
mod resume_methods;
mod runs;
mod sgd_trajectory;
mod swav;
mod vit;
