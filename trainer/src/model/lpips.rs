//! Learned perceptual image patch similarity (Zhang et al. 2018), version 0.1: AlexNet as a metric, VGG16 as a loss.
//!
//! Tensors carry the names of the `lpips` package, which taming-transformers' `loss.perceptual_loss` shares:
//! `net.slice{1-5}.{layer}.{weight,bias}` and `lin{0-4}.model.1.weight`. `scripts/lpips-weights` makes the files.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::weights::{WeightsError, WeightsFile};

/// Which network the distance is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LpipsNet {
    Alex,
    Vgg16,
}

/// One layer of a trunk.
enum Layer {
    /// Convolution and ReLU.
    Conv { weight: Tensor, bias: Tensor, stride: i64, padding: i64 },
    /// Max pooling, window and stride.
    MaxPool(i64, i64),
    /// End of a slice: the activation here is compared.
    Tap,
}

/// The distance, with frozen weights: gradients flow to the pictures only.
pub struct Lpips {
    layers: Vec<Layer>,
    /// One 1x1 kernel per tap, `[1, C, 1, 1]`.
    heads: Vec<Tensor>,
    shift: Tensor,
    scale: Tensor,
}

/// Convolutions of a trunk: (slice, layer, stride, padding), and the pooling windows between.
enum Plan {
    Conv(usize, usize, i64, i64),
    Pool(i64, i64),
    Tap,
}

impl LpipsNet {
    fn plan(self) -> Vec<Plan> {
        use Plan::{Conv, Pool, Tap};
        match self {
            Self::Alex => vec![
                Conv(1, 0, 4, 2),
                Tap,
                Pool(3, 2),
                Conv(2, 3, 1, 2),
                Tap,
                Pool(3, 2),
                Conv(3, 6, 1, 1),
                Tap,
                Conv(4, 8, 1, 1),
                Tap,
                Conv(5, 10, 1, 1),
                Tap,
            ],
            Self::Vgg16 => {
                let slices: [&[usize]; 5] = [&[0, 2], &[5, 7], &[10, 12, 14], &[17, 19, 21], &[24, 26, 28]];
                let mut plan = Vec::new();
                for (i, layers) in slices.iter().enumerate() {
                    if i > 0 {
                        plan.push(Pool(2, 2));
                    }
                    plan.extend(layers.iter().map(|&layer| Conv(i + 1, layer, 1, 1)));
                    plan.push(Tap);
                }
                plan
            }
        }
    }
}

impl Lpips {
    /// AlexNet, the variant that the literature's tables use, from a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError`] where the file is unreadable or is not that network's.
    pub fn alex(file: impl AsRef<Path>, device: Device) -> Result<Self, WeightsError> {
        Self::load(file.as_ref(), LpipsNet::Alex, device)
    }

    /// VGG16, the variant that VQGAN is trained with, from a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError`] where the file is unreadable or is not that network's.
    pub fn vgg16(file: impl AsRef<Path>, device: Device) -> Result<Self, WeightsError> {
        Self::load(file.as_ref(), LpipsNet::Vgg16, device)
    }

    fn load(path: &Path, net: LpipsNet, device: Device) -> Result<Self, WeightsError> {
        let file = WeightsFile::open(path)?;
        let tensor = |name: String| Ok(file.tensor(&name)?.to_device(device).to_kind(Kind::Float));
        let mut layers = Vec::new();
        let mut heads = Vec::new();
        let mut channels = 3;
        for step in net.plan() {
            layers.push(match step {
                Plan::Conv(slice, layer, stride, padding) => {
                    let name = format!("net.slice{slice}.{layer}");
                    let (weight, bias) = (tensor(format!("{name}.weight"))?, tensor(format!("{name}.bias"))?);
                    let size = weight.size();
                    let outputs = size.first().copied().unwrap_or(0);
                    let kernel = size.get(2).copied().unwrap_or(0);
                    check(&file, &format!("{name}.weight"), &weight, &[outputs, channels, kernel, kernel])?;
                    check(&file, &format!("{name}.bias"), &bias, &[outputs])?;
                    channels = outputs;
                    Layer::Conv { weight, bias, stride, padding }
                }
                Plan::Pool(window, stride) => Layer::MaxPool(window, stride),
                Plan::Tap => {
                    let name = format!("lin{}.model.1.weight", heads.len());
                    let head = tensor(name.clone())?;
                    check(&file, &name, &head, &[1, channels, 1, 1])?;
                    heads.push(head);
                    Layer::Tap
                }
            });
        }
        let constant = |v: [f32; 3]| Tensor::from_slice(&v).view([1, 3, 1, 1]).to_device(device);
        Ok(Self {
            layers,
            heads,
            // ImageNet's mean and deviation, for pictures in [-1, 1].
            shift: constant([-0.030, -0.088, -0.188]),
            scale: constant([0.458, 0.448, 0.450]),
        })
    }

    /// Distance of `x` and `y`, each float32 `[B, 3, H, W]` in [-1, 1]: float32 `[B]`, 0 where they are equal.
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let mut distance = Tensor::zeros([x.size()[0]], (Kind::Float, x.device()));
        for ((x, y), head) in self.activations(x).iter().zip(&self.activations(y)).zip(&self.heads) {
            let difference = (unit(x) - unit(y)).square();
            let weighted = (difference * head).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            distance += weighted.mean_dim([1i64, 2].as_slice(), false, Kind::Float);
        }
        distance
    }

    fn activations(&self, x: &Tensor) -> Vec<Tensor> {
        let mut x = (x - &self.shift) / &self.scale;
        let mut taps = Vec::with_capacity(self.heads.len());
        for layer in &self.layers {
            match layer {
                Layer::Conv { weight, bias, stride, padding } => {
                    x = x.conv2d(weight, Some(bias), [*stride, *stride], [*padding, *padding], [1, 1], 1).relu();
                }
                Layer::MaxPool(window, stride) => {
                    x = x.max_pool2d([*window, *window], [*stride, *stride], [0, 0], [1, 1], false);
                }
                Layer::Tap => taps.push(x.shallow_clone()),
            }
        }
        taps
    }
}

fn check(file: &WeightsFile, name: &str, tensor: &Tensor, expected: &[i64]) -> Result<(), WeightsError> {
    if tensor.size() == expected {
        return Ok(());
    }
    Err(WeightsError::Shape {
        path: file.path().to_owned(),
        name: name.to_owned(),
        found: tensor.size(),
        expected: expected.to_vec(),
    })
}

/// Features scaled to unit length over channels. The clamp changes no value that matters and keeps the gradient of an
/// all-zero feature at zero, where the reference's square root gives NaN.
fn unit(features: &Tensor) -> Tensor {
    let squares = features.to_kind(Kind::Float).square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
    features / (squares.clamp_min(1e-20).sqrt() + 1e-10)
}
