//! Vision transformers as ONNX operations.

use super::graph::{Setting, Value};
use super::layers::{Layers, Stride};
use crate::batch::to_host;
use crate::config::MlpKind;
use crate::models::VitConfig;
use crate::models::vit::{Interpolation, PatchStem, Pool, resize_positions};
use burn::tensor::{Device, Tensor, TensorData};

/// A transformer that sees images of one size.
pub(super) struct VitGraph<'a> {
    pub config: &'a VitConfig,
    /// `[height, width]` of the images.
    pub image: [usize; 2],
}

impl VitGraph<'_> {
    /// `[N, 3, H, W]` to `[N, D]`.
    pub(super) fn build(&self, layers: &mut Layers, x: &Value) -> Value {
        let patches = self.patches(layers, x);
        let mut x = self.with_prefix(layers, &patches);
        for block in 0..self.config.depth {
            x = self.block(layers, &x, &format!("blocks.{block}"));
        }
        self.pool(layers, &x)
    }

    /// Tokens of the patches with their positions, `[N, L, D]`.
    fn patches(&self, layers: &mut Layers, x: &Value) -> Value {
        let map = match self.config.stem {
            PatchStem::Linear | PatchStem::FrozenLinear => layers.patches(x, "patch_embed.proj"),
            PatchStem::Conv => self.conv_stem(layers, x),
        };
        let width = self.config.width as i64;
        let rows = layers.reshape(&map, "patch_embed.flat", &[0, width, -1]);
        let tokens = layers.transpose(&rows, "patch_embed.tokens", &[0, 2, 1]);
        let positions = self.positions(layers);
        layers.add(&tokens, &positions, "patch_embed.placed")
    }

    fn conv_stem(&self, layers: &mut Layers, x: &Value) -> Value {
        let mut x = x.clone();
        let halvings = self.config.patch.ilog2();
        for halving in 0..halvings {
            let [conv, norm, relu] =
                [0, 1, 2].map(|i| format!("patch_embed.proj.{}", 3 * halving + i));
            let y = layers.conv(&x, &conv, Stride::of(2));
            let y = layers.batch_norm(&y, &norm);
            x = layers.relu(&y, &relu);
        }
        layers.conv(&x, &format!("patch_embed.proj.{}", 3 * halvings), Stride::of(1))
    }

    /// Positions of the patches of the graph's images, interpolated if need be, `[1, L, D]`.
    fn positions(&self, layers: &mut Layers) -> Value {
        let [_, patches] = split_positions(self.config, layers.values("pos_embed").1);
        let resized = resized_positions(self.config, patches, self.image);
        let shape = [1, resized.len() / self.config.width, self.config.width];
        layers.graph.floats("pos_embed.patches", &shape, &resized)
    }

    /// Class token, with its position, and registers, the same for all images, in front of the
    /// patches.
    fn with_prefix(&self, layers: &mut Layers, patches: &Value) -> Value {
        let (width, count) = (self.config.width, self.config.prefix_tokens());
        if count == 0 {
            return patches.clone();
        }
        let mut prefix = Vec::new();
        if self.config.class_token {
            let [own, _] = split_positions(self.config, layers.values("pos_embed").1);
            let position = own.iter().copied().chain(std::iter::repeat(0.0));
            prefix.extend(layers.values("cls_token").1.iter().zip(position).map(|(a, b)| a + b));
        }
        if self.config.registers > 0 {
            prefix.extend(layers.values("reg_token").1);
        }
        let graph = &mut layers.graph;
        let tokens = graph.floats("prefix.tokens", &[1, count, width], &prefix);
        let sizes = [("start", Setting::Int(0)), ("end", Setting::Int(1))];
        let images = graph.node("Shape", "prefix.images", &[patches], &sizes);
        let rest = graph.integers("prefix.rest", &[count as i64, width as i64]);
        let shape = layers.concat(&[&images, &rest], "prefix.shape", 0);
        let repeated = layers.graph.node("Expand", "prefix.repeated", &[&tokens, &shape], &[]);
        layers.concat(&[&repeated, patches], "tokens", 1)
    }

    /// Attention, then an MLP, each on a LayerNorm of its input and added to it.
    fn block(&self, layers: &mut Layers, x: &Value, block: &str) -> Value {
        let part = |name: &str| format!("{block}.{name}");
        let normed = layers.layer_norm(x, &part("norm1"), self.config.norm_epsilon);
        let attended = self.attention(layers, &normed, &part("attn"));
        let attended = layers.scaled(&attended, &part("ls1"));
        let x = layers.add(x, &attended, &part("sum1"));
        let normed = layers.layer_norm(&x, &part("norm2"), self.config.norm_epsilon);
        let mixed = self.mlp(layers, &normed, &part("mlp"));
        let mixed = layers.scaled(&mixed, &part("ls2"));
        layers.add(&x, &mixed, &part("sum2"))
    }

    fn mlp(&self, layers: &mut Layers, x: &Value, place: &str) -> Value {
        let part = |name: &str| format!("{place}.{name}");
        let hidden = layers.token_linear(x, &part("fc1"));
        let hidden = match self.config.mlp {
            MlpKind::Gelu => layers.gelu(&hidden, &part("gelu")),
            MlpKind::Swiglu => {
                let half = self.config.hidden as i64;
                let gate = layers.slice(&hidden, &part("gate"), 2, [0, half]);
                let value = layers.slice(&hidden, &part("value"), 2, [half, 2 * half]);
                let gate = layers.silu(&gate, &part("silu"));
                layers.graph.node("Mul", &part("gated"), &[&gate, &value], &[])
            }
        };
        layers.token_linear(&hidden, &part("fc2"))
    }

    /// `softmax(q kᵀ / sqrt(d)) v` in every head.
    fn attention(&self, layers: &mut Layers, x: &Value, place: &str) -> Value {
        let part = |name: &str| format!("{place}.{name}");
        let (width, heads) = (self.config.width as i64, self.config.heads as i64);
        let qkv = layers.token_linear(x, &part("qkv"));
        let mut head = |name: &str, index: i64, order: &[i64]| {
            let bounds = [index * width, (index + 1) * width];
            let rows = layers.slice(&qkv, &part(name), 2, bounds);
            let heads = layers.reshape(
                &rows,
                &part(&format!("{name}.heads")),
                &[0, 0, heads, width / heads],
            );
            layers.transpose(&heads, &part(&format!("{name}.by_head")), order)
        };
        let query = head("query", 0, &[0, 2, 1, 3]);
        let key = head("key", 1, &[0, 2, 3, 1]);
        let value = head("value", 2, &[0, 2, 1, 3]);
        let scale = (self.config.width as f64 / self.config.heads as f64).powf(-0.5);
        let scale = layers.graph.floats(&part("scale"), &[], &[scale as f32]);
        let graph = &mut layers.graph;
        let query = graph.node("Mul", &part("query.scaled"), &[&query, &scale], &[]);
        let scores = graph.node("MatMul", &part("scores"), &[&query, &key], &[]);
        let weights =
            graph.node("Softmax", &part("weights"), &[&scores], &[("axis", Setting::Int(-1))]);
        let gathered = graph.node("MatMul", &part("gathered"), &[&weights, &value], &[]);
        let tokens = layers.transpose(&gathered, &part("by_token"), &[0, 2, 1, 3]);
        let tokens = layers.reshape(&tokens, &part("joined"), &[0, 0, width]);
        layers.token_linear(&tokens, &part("proj"))
    }

    fn pool(&self, layers: &mut Layers, x: &Value) -> Value {
        let first = self.config.prefix_tokens() as i64;
        let patches = |layers: &mut Layers, x: &Value| {
            layers.slice(x, "pool.patches", 1, [first, i64::from(i32::MAX)])
        };
        match self.config.pool {
            Pool::Class => {
                let zero = layers.graph.index("pool.first", 0);
                let axis = [("axis", Setting::Int(1))];
                let token = layers.graph.node("Gather", "pool.class", &[x, &zero], &axis);
                layers.layer_norm(&token, "norm", self.config.norm_epsilon)
            }
            Pool::Mean => {
                let normed = layers.layer_norm(x, "norm", self.config.norm_epsilon);
                let patches = patches(layers, &normed);
                layers.token_mean(&patches, "pool.mean")
            }
            Pool::MeanBeforeNorm => {
                let patches = patches(layers, x);
                let mean = layers.token_mean(&patches, "pool.mean");
                layers.layer_norm(&mean, "fc_norm", self.config.norm_epsilon)
            }
        }
    }
}

/// The class token's position, if it has one, and those of the patches.
pub(in crate::export) fn split_positions<'a>(vit: &VitConfig, table: &'a [f32]) -> [&'a [f32]; 2] {
    let own = vit.class_token && vit.class_position;
    let (class, patches) = table.split_at(usize::from(own) * vit.width);
    [class, patches]
}

/// Positions of patches for images of another size, as the network itself interpolates them.
pub(in crate::export) fn resized_positions(
    vit: &VitConfig,
    patches: &[f32],
    image: [usize; 2],
) -> Vec<f32> {
    let (from, to) = (vit.grid(), image.map(|side| side / vit.patch));
    if from == to {
        return patches.to_vec();
    }
    let table = TensorData::new(patches.to_vec(), [1, from[0] * from[1], vit.width]);
    let table = Tensor::from_data(table, &Device::flex());
    let rule = Interpolation { nudge: vit.position_nudge, antialias: vit.antialias_positions };
    to_host(resize_positions(table, from, to, rule))
}
