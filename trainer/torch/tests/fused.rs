//! The fused functions of the shim (group norm with FiLM and SiLU; attention; convolution of an enlarged map) against the
//! same in float64, gradients included.

use defusion_torch::{Norm, attention, group_norm, upsample_conv};
use tch::{Device, Kind, Tensor};

const GROUPS: i64 = 32;

fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// As libtorch's own operations compute it, in the kind of `x`.
fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor, film: Option<&Tensor>, silu: bool) -> Tensor {
    let mut y = x.group_norm(GROUPS, Some(weight), Some(bias), 1e-5, true);
    if let Some(film) = film {
        let parts = film.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
        y = y * (&parts[0] + 1) + &parts[1];
    }
    if silu { y.silu() } else { y }
}

/// Greatest difference over the greatest expected magnitude.
fn error(actual: &Tensor, expected: &Tensor) -> f64 {
    let difference = (actual.to_kind(Kind::Double) - expected).abs().max();
    f64::try_from(difference / expected.abs().max()).unwrap()
}

struct Case {
    shape: [i64; 4],
    kind: Kind,
    film: bool,
    silu: bool,
    /// What the input's values are around, in deviations.
    mean: f64,
}

/// Runs a case both ways and returns the errors of the output and of each gradient.
fn errors(case: &Case) -> Vec<f64> {
    tch::manual_seed(7);
    let [b, c, ..] = case.shape;
    let normal = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    let x = channels_last(&(normal(&case.shape) * 1.7 + case.mean)).to_kind(case.kind);
    let (weight, bias) = (normal(&[c]) * 0.3 + 1.0, normal(&[c]) * 0.5);
    let film = case.film.then(|| (normal(&[b, 2 * c]) * 0.5).to_kind(case.kind));
    let dy = normal(&case.shape).to_kind(case.kind);

    let leaves: Vec<Tensor> =
        [Some(&x), Some(&weight), Some(&bias), film.as_ref()].into_iter().flatten().map(Tensor::copy).collect();
    let exact: Vec<Tensor> = leaves.iter().map(|t| t.to_kind(Kind::Double).set_requires_grad(true)).collect();
    let leaves: Vec<Tensor> = leaves.into_iter().map(|t| t.set_requires_grad(true)).collect();

    let norm = Norm { groups: GROUPS, eps: 1e-5, film: leaves.get(3), silu: case.silu };
    let y = group_norm(&leaves[0], &leaves[1], &leaves[2], norm).unwrap().expect("the fused norm takes this");
    let expected = plain(&exact[0], &exact[1], &exact[2], exact.get(3), case.silu);
    assert_eq!((y.kind(), y.stride()), (case.kind, leaves[0].stride()));
    (&y * &dy).sum(Kind::Float).backward();
    (&expected * dy.to_kind(Kind::Double)).sum(Kind::Double).backward();
    let gradients = leaves.iter().zip(&exact).map(|(a, e)| error(&a.grad(), &e.grad()));
    std::iter::once(error(&y, &expected)).chain(gradients).collect()
}

#[test]
fn values_and_gradients_are_those_of_float64() {
    for shape in [[2, 64, 9, 7], [3, 96, 8, 8], [1, 320, 16, 16], [4, 32, 1, 1]] {
        for (film, silu) in [(false, false), (false, true), (true, true), (true, false)] {
            // One value a group has no deviation: the gradients of x and of the weight are nothing but rounding.
            let rounding_only = shape == [4, 32, 1, 1];
            for (kind, limit) in [(Kind::Float, 2e-6), (Kind::BFloat16, 8e-3)] {
                let case = Case { shape, kind, film, silu, mean: 0.5 };
                let mut errors = errors(&case);
                if rounding_only {
                    errors.drain(1..3);
                }
                let worst = errors.iter().copied().fold(0.0, f64::max);
                assert!(worst < limit, "{shape:?} {kind:?} film {film} silu {silu}: {errors:?}");
            }
        }
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    // float32 itself leaves the input 24 bits, of which a mean of 1000 takes 10.
    let case = Case { shape: [2, 64, 16, 16], kind: Kind::Float, film: true, silu: true, mean: 1000.0 };
    let errors = errors(&case);
    assert!(errors.iter().all(|&e| e < 1e-4), "{errors:?}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let given = channels_last(&Tensor::randn([1, 192, 16, 16], (Kind::Float, Device::Cpu)));
    let weights = Tensor::randn([192], (Kind::Float, Device::Cpu));
    let run = |threads| {
        tch::set_num_threads(threads);
        let (x, weight) = (given.detach().set_requires_grad(true), weights.copy().set_requires_grad(true));
        let norm = Norm { groups: GROUPS, eps: 1e-5, film: None, silu: true };
        let y = group_norm(&x, &weight, &weight.detach(), norm).unwrap().unwrap();
        y.square().sum(Kind::Float).backward();
        (y.detach(), x.grad(), weight.grad())
    };
    let threads = tch::get_num_threads();
    let (one, four) = (run(1), run(4));
    tch::set_num_threads(threads);
    assert_eq!(one, four);
}

#[test]
fn what_is_not_finite_stays_so() {
    for bad in [f64::NAN, f64::INFINITY] {
        let x = channels_last(&Tensor::ones([1, 32, 4, 4], (Kind::Float, Device::Cpu)));
        let _ = x.get(0).get(5).get(1).get(2).fill_(bad);
        let one = Tensor::ones([32], (Kind::Float, Device::Cpu));
        let norm = Norm { groups: GROUPS, eps: 1e-5, film: None, silu: true };
        let y = group_norm(&x, &one, &one, norm).unwrap().unwrap();
        assert!(!bool::try_from(y.isfinite().all()).unwrap(), "{bad} was lost");
    }
}

#[test]
fn other_tensors_are_left_to_libtorch_and_wrong_weights_refused() {
    let x = Tensor::randn([2, 64, 4, 4], (Kind::Float, Device::Cpu));
    let weight = Tensor::ones([64], (Kind::Float, Device::Cpu));
    let norm = Norm { groups: GROUPS, eps: 1e-5, film: None, silu: false };
    assert!(group_norm(&x, &weight, &weight, norm).unwrap().is_none(), "row-major");
    assert!(group_norm(&x.to_kind(Kind::Double), &weight, &weight, norm).unwrap().is_none(), "float64");
    let error = group_norm(&channels_last(&x), &weight.narrow(0, 0, 32), &weight, norm).unwrap_err();
    assert!(error.to_string().contains("weights [64]"), "{error}");
}

/// Queries, keys and values as one projection holds them: views of `[B, T, heads, 3, d]`.
fn projected(kind: Kind, [b, t, heads, d]: [i64; 4]) -> Vec<Tensor> {
    let all = Tensor::randn([b, t, heads, 3, d], (Kind::Float, Device::Cpu)).to_kind(kind);
    all.unbind(3).iter().map(|part| part.transpose(1, 2)).collect()
}

#[test]
fn attention_and_its_gradients_are_those_of_float64() {
    tch::manual_seed(5);
    for (kind, limit) in [(Kind::Float, 5e-6), (Kind::BFloat16, 1e-2)] {
        // The second has more scores than are computed at a time, the third more queries than keys.
        for (shape, keys) in [([2, 64, 3, 32], 64), ([1, 600, 2, 16], 600), ([2, 256, 1, 48], 196)] {
            let [b, t, heads, d] = shape;
            let (own, other) = (projected(kind, shape), projected(kind, [b, keys, heads, d]));
            let leaves = [&own[0], &other[1], &other[2]].map(|x| x.detach().set_requires_grad(true));
            let exact = [0, 1, 2].map(|i| leaves[i].detach().to_kind(Kind::Double).set_requires_grad(true));
            let dy = Tensor::randn([b, heads, t, d], (Kind::Float, Device::Cpu)).to_kind(kind);
            let Some(y) = attention(&leaves[0], &leaves[1], &leaves[2]).unwrap() else {
                println!("{kind:?}: this processor lacks what the fused attention needs");
                continue;
            };
            let scores = exact[0].matmul(&exact[1].transpose(2, 3)) / (d as f64).sqrt();
            let expected = scores.softmax(-1, Kind::Double).matmul(&exact[2]);
            (&y * &dy).sum(Kind::Float).backward();
            (&expected * dy.to_kind(Kind::Double)).sum(Kind::Double).backward();
            let mut errors = vec![error(&y, &expected)];
            errors.extend(leaves.iter().zip(&exact).map(|(a, e)| error(&a.grad(), &e.grad())));
            assert!(errors.iter().all(|&e| e < limit), "{kind:?} {shape:?}: {errors:?}");
        }
    }
}

#[test]
fn attention_keeps_what_is_not_finite_and_leaves_the_rest_to_libtorch() {
    let [q, k, v]: [Tensor; 3] = projected(Kind::Float, [1, 32, 1, 16]).try_into().unwrap();
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    assert!(attention(&double(&q), &double(&k), &double(&v)).unwrap().is_none(), "float64");
    let odd = |t: &Tensor| t.narrow(2, 0, 31);
    assert!(attention(&q, &odd(&k), &odd(&v)).unwrap().is_none(), "an odd number of keys");
    let _ = q.get(0).get(0).get(3).get(2).fill_(f64::NAN);
    if let Some(y) = attention(&q, &k, &v).unwrap() {
        assert!(bool::try_from(y.get(0).get(0).get(3).isnan().all()).unwrap(), "a NaN among the queries was lost");
        assert!(attention(&q, &k, &v.narrow(2, 0, 30)).is_err(), "values that do not fit the keys");
    }
}

#[test]
fn a_convolution_of_an_enlarged_map_is_that_of_float64() {
    tch::manual_seed(9);
    let normal = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    for bias in [true, false] {
        let mut given = vec![channels_last(&normal(&[2, 8, 5, 6])), channels_last(&normal(&[7, 8, 3, 3]))];
        given.extend(bias.then(|| normal(&[7])));
        let leaves: Vec<Tensor> = given.iter().map(|t| t.detach().set_requires_grad(true)).collect();
        let exact: Vec<Tensor> = given.iter().map(|t| t.to_kind(Kind::Double).set_requires_grad(true)).collect();
        let y = upsample_conv(&leaves[0], &leaves[1], leaves.get(2)).unwrap();
        let large = exact[0].upsample_nearest2d([10, 12], None, None);
        let expected = large.conv2d(&exact[1], exact.get(2), 1, 1, 1, 1);
        let dy = normal(&[2, 7, 10, 12]);
        (&y * &dy).sum(Kind::Float).backward();
        (&expected * dy.to_kind(Kind::Double)).sum(Kind::Double).backward();
        let mut errors = vec![error(&y, &expected)];
        errors.extend(leaves.iter().zip(&exact).map(|(a, e)| error(&a.grad(), &e.grad())));
        assert!(errors.iter().all(|&e| e < 1e-6), "{errors:?}");
    }
    let x = normal(&[1, 4, 2, 2]);
    assert!(upsample_conv(&x, &normal(&[4, 4, 1, 1]), None).unwrap_err().to_string().contains("3x3"));
}
