//! Learned perceptual image patch similarity (Zhang et al. 2018), version 0.1: AlexNet as a metric, VGG16 as a loss.
//!
//! Tensors carry the names of the `lpips` package, which taming-transformers' `loss.perceptual_loss` shares:
//! `net.slice{1-5}.{layer}.{weight,bias}` and `lin{0-4}.model.1.weight`. `scripts/lpips-weights` makes the files.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::weights::{WeightsError, WeightsFile};

/// The network that the distance is measured in, its trunk.
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

/// The distance, with frozen weights: gradients flow to the images only.
pub struct Lpips {
    layers: Vec<Layer>,
    /// One 1x1 kernel per tap, `[1, C, 1, 1]`.
    heads: Vec<Tensor>,
    shift: Tensor,
    scale: Tensor,
}

/// One step of a trunk, before its weights are read.
enum Step {
    /// Convolution and ReLU: slice, layer, stride, padding.
    Conv(usize, usize, i64, i64),
    /// Max pooling: window, stride.
    Pool(i64, i64),
    /// End of a slice.
    Tap,
}

impl LpipsNet {
    /// The layers of torchvision's network of this name, in `lpips`' five slices.
    fn steps(self) -> Vec<Step> {
        use Step::{Conv, Pool, Tap};
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
                let mut steps = Vec::new();
                for (i, layers) in slices.iter().enumerate() {
                    if i > 0 {
                        steps.push(Pool(2, 2));
                    }
                    steps.extend(layers.iter().map(|&layer| Conv(i + 1, layer, 1, 1)));
                    steps.push(Tap);
                }
                steps
            }
        }
    }
}

impl Lpips {
    /// Reads AlexNet, the variant that the literature's tables use, from a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] or [`WeightsError::Shape`] if the file is not that network's, another [`WeightsError`]
    /// if it is unreadable.
    pub fn alex(file: impl AsRef<Path>, device: Device) -> Result<Self, WeightsError> {
        Self::load(file.as_ref(), LpipsNet::Alex, device)
    }

    /// Reads VGG16, the variant that VQGAN is trained with, from a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] or [`WeightsError::Shape`] if the file is not that network's, another [`WeightsError`]
    /// if it is unreadable.
    pub fn vgg16(file: impl AsRef<Path>, device: Device) -> Result<Self, WeightsError> {
        Self::load(file.as_ref(), LpipsNet::Vgg16, device)
    }

    fn load(path: &Path, net: LpipsNet, device: Device) -> Result<Self, WeightsError> {
        let file = WeightsFile::open(path)?;
        let tensor = |name: String| Ok(file.tensor(&name)?.to_device(device).to_kind(Kind::Float));
        let mut layers = Vec::new();
        let mut heads = Vec::new();
        let mut channels = 3;
        for step in net.steps() {
            layers.push(match step {
                Step::Conv(slice, layer, stride, padding) => {
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
                Step::Pool(window, stride) => Layer::MaxPool(window, stride),
                Step::Tap => {
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
            // ImageNet's mean and deviation, for images in [-1, 1].
            shift: constant([-0.030, -0.088, -0.188]),
            scale: constant([0.458, 0.448, 0.450]),
        })
    }

    /// Distance of `x` and `y`, each float32 `[B, 3, H, W]` in [-1, 1]: float32 `[B]`, 0 for equal images.
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let mut distance = Tensor::zeros([x.size()[0]], (Kind::Float, x.device()));
        for ((x, y), head) in self.activations(x).iter().zip(&self.activations(y)).zip(&self.heads) {
            let difference = (unit(x) - unit(y)).square();
            let weighted = (difference * head).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            distance += weighted.mean_dim([1i64, 2].as_slice(), false, Kind::Float);
        }
        distance
    }

    /// Images to the activations at the end of each slice, `[B, C, h, w]` each.
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

/// Refuses tensor `name` of `file` if its shape is another than `expected`.
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

/// Scales features `[B, C, h, w]` to unit length over channels. The clamp changes no value that matters and keeps the
/// gradient of an all-zero feature at zero; the reference's square root gives NaN there.
fn unit(features: &Tensor) -> Tensor {
    let squares = features.to_kind(Kind::Float).square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
    features / (squares.clamp_min(1e-20).sqrt() + 1e-10)
}
