//! Integration tests: golden vectors from PyTorch, and small runs from end to end.

mod accumulate;
mod byol;
mod cmc;
mod cpc;
mod dino;
mod golden;
mod instdisc;
mod invaspread;
mod layers;
mod loss;
mod mae;
mod mix;
mod moco_method;
mod moco_v3;
mod norm;
mod optim;
mod probes;
mod resnet;
mod resume_methods;
mod runs;
mod sgd_trajectory;
mod simclr;
mod simsiam;
mod swav;
mod trajectory;
mod vit;
