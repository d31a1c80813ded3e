//! The family in one line each, for people who choose.

/// What there is to know about a method before trying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Name, as in `--method`.
    pub name: &'static str,
    /// The paper: authors, year, arXiv number.
    pub paper: &'static str,
    /// The idea in one line.
    pub idea: &'static str,
    /// What it carries besides the network that is trained.
    pub state: &'static str,
    /// The batch it wants.
    pub batch: &'static str,
}

/// All methods, in order of publication.
pub const CARDS: [Card; 14] = [
    Card {
        name: "instdisc",
        paper: "Wu et al. 2018, arXiv 1805.01978",
        idea: "every image is a class of its own, told from all others by a memory of their features",
        state: "a bank with one row per image",
        batch: "any; 128 or 256 as published",
    },
    Card {
        name: "cpc",
        paper: "van den Oord et al. 2018, arXiv 1807.03748",
        idea: "from the patches above, tell the patches below from those of other places and images",
        state: "a context network and predictors",
        batch: "16 images or more, whose patches are the negatives",
    },
    Card {
        name: "invaspread",
        paper: "Ye et al. 2019, arXiv 1904.03436",
        idea: "two views of an image attract, all other images of the batch spread out",
        state: "nothing",
        batch: "128; its other images are the negatives",
    },
    Card {
        name: "cmc",
        paper: "Tian et al. 2020, arXiv 1906.05849",
        idea: "lightness and colour of an image, each with an encoder of its own, find each other",
        state: "two encoders and two banks with one row per image",
        batch: "any; 128 as published",
    },
    Card {
        name: "moco-v1",
        paper: "He et al. 2020, arXiv 1911.05722",
        idea: "look a view up in a large queue of keys, made by a slowly moving average of the encoder",
        state: "a key encoder and a queue of keys",
        batch: "any; 256 as published, the queue makes up for it",
    },
    Card {
        name: "simclr",
        paper: "Chen et al. 2020, arXiv 2002.05709",
        idea: "two views find each other among all views of a large batch",
        state: "nothing",
        batch: "the larger the better: 4096 as published, 512 on CIFAR-10",
    },
    Card {
        name: "moco-v2",
        paper: "Chen et al. 2020, arXiv 2003.04297",
        idea: "MoCo with SimCLR's projection head and stronger augmentation",
        state: "a key encoder and a queue of keys",
        batch: "any; 256 as published",
    },
    Card {
        name: "byol",
        paper: "Grill et al. 2020, arXiv 2006.07733",
        idea: "predict what a moving average of yourself says of the other view; no negatives",
        state: "a target network and a predictor",
        batch: "256 or more; 4096 as published",
    },
    Card {
        name: "simclr-v2",
        paper: "Chen et al. 2020, arXiv 2006.10029",
        idea: "SimCLR with a projection head of three layers",
        state: "nothing, or a memory of past keys",
        batch: "the larger the better: 4096 as published",
    },
    Card {
        name: "swav",
        paper: "Caron et al. 2020, arXiv 2006.09882",
        idea: "predict a view's cluster from another view, with all clusters kept equally large",
        state: "prototypes, and a queue for small batches",
        batch: "256 with a queue; 4096 without",
    },
    Card {
        name: "simsiam",
        paper: "Chen & He 2021, arXiv 2011.10566",
        idea: "predict one view from the other and stop the gradient on one side; nothing else",
        state: "a predictor",
        batch: "any; 256 to 512 as published",
    },
    Card {
        name: "moco-v3",
        paper: "Chen et al. 2021, arXiv 2104.02057",
        idea: "MoCo without the queue, with a predictor, and stable for vision transformers",
        state: "a momentum encoder and a predictor",
        batch: "large: 4096 as published; its other images are the negatives",
    },
    Card {
        name: "dino",
        paper: "Caron et al. 2021, arXiv 2104.14294",
        idea: "a student sees small crops and matches what its moving average says of large ones",
        state: "a teacher and the centre of its outputs",
        batch: "any; 1024 as published",
    },
    Card {
        name: "mae",
        paper: "He et al. 2022, arXiv 2111.06377",
        idea: "hide three patches of four and paint them from the rest",
        state: "a decoder",
        batch: "any; 4096 as published",
    },
];
