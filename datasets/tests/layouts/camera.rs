//! Sets of noise and blur.

use std::collections::BTreeMap;
use std::path::Path;

use defusion_datasets::ProblemKind;

use crate::{counts, pairs, scanned, tree, write_image};

#[test]
fn sidd_keeps_a_scene_on_one_side() {
    let mut files = Vec::new();
    for scene in 1..=10 {
        let folder = format!("SIDD_Medium_Srgb/Data/{scene:04}_001_S6_00100_00060_3200_L");
        for side in ["NOISY", "GT"] {
            files.extend(["010", "011"].map(|k| format!("{folder}/{scene:04}_{side}_SRGB_{k}.PNG")));
        }
    }
    let listing = tree("sidd", &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(counts(&listing), BTreeMap::from([("test", 2), ("train", 18)]));
    let test: Vec<&Path> = listing.pairs.iter().filter(|p| p.split == "test").map(|p| p.gt.parent().unwrap()).collect();
    assert_eq!(test[0], test[1]);
    assert!(pairs(&listing)[2].contains("_NOISY_SRGB_010.PNG <- "));
}

#[test]
fn gopro_takes_blur_and_leaves_blur_gamma() {
    let at = |folder: &str| format!("GOPRO_Large/train/GOPR0372_07_00/{folder}/000047.png");
    let files = ["blur", "blur_gamma", "sharp"].map(at);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(pairs(&tree("gopro", &files)), [format!("train: {} <- {}", at("blur"), at("sharp"))]);
    assert_eq!(pairs(&tree("gopro_gamma", &files)), [format!("train: {} <- {}", at("blur_gamma"), at("sharp"))]);
}

#[test]
fn realblur_goes_by_its_lists() {
    let dir = tempfile::tempdir().unwrap();
    let j = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref";
    let r = "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref";
    for (folder, scene) in [(j, 1), (j, 2), (r, 1)] {
        for k in 1..=2 {
            write_image(&dir.path().join(format!("{folder}/scene00{scene}/blur/blur_{k}.png")), 9, 9, false);
            write_image(&dir.path().join(format!("{folder}/scene00{scene}/gt/gt_{k}.png")), 9, 9, false);
        }
    }
    // Columns in either order, with and without a leading `./`; a file that is not there; a line of something else.
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "RealBlur_J_train_list.txt",
        &format!(
            "{j}/scene001/gt/gt_1.png {j}/scene001/blur/blur_1.png 0\n./{j}/scene001/blur/blur_2.png ./{j}/scene001/gt/gt_2.png\n\n\
             {j}/scene009/gt/gt_1.png {j}/scene009/blur/blur_1.png\nnonsense here\n"
        ),
    );
    write("RealBlur_R_train_list.txt", &format!("{r}/scene001/gt/gt_1.png {r}/scene001/blur/blur_1.png\n"));
    write("RealBlur_J_test_list.txt", &format!("{j}/scene002/gt/gt_1.png {j}/scene002/blur/blur_1.png\n"));
    let mut listing = scanned("realblur", dir.path());
    let problems: Vec<String> = listing.problems.drain(..).map(|p| p.to_string()).collect();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].contains("scene009/blur/blur_1.png: listed, but not there"), "{problems:?}");
    assert!(problems[1].contains("RealBlur_J_train_list.txt: line 5"), "{problems:?}");
    assert_eq!(counts(&listing), BTreeMap::from([("test_j", 1), ("train", 3)]));
    assert_eq!(pairs(&listing)[1], format!("train: {j}/scene001/blur/blur_1.png <- {j}/scene001/gt/gt_1.png"));
}

#[test]
fn dpdd_pairs_by_rank_because_its_stems_differ() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("dd_dp_dataset_canon/test_c");
    for n in [917, 919, 1103] {
        write_image(&root.join(format!("source/1P0A{n:04}.png")), 12, 8, true);
        write_image(&root.join(format!("target/1P0A{:04}.png", n - 1)), 12, 8, true);
    }
    let listing = scanned("dpdd", dir.path());
    let shown = pairs(&listing);
    assert_eq!(shown.len(), 3);
    for (pair, (lq, gt)) in shown.iter().zip([("0917", "0916"), ("0919", "0918"), ("1103", "1102")]) {
        assert!(pair.contains(&format!("source/1P0A{lq}.png <- ")) && pair.ends_with(&format!("target/1P0A{gt}.png")));
    }
    std::fs::remove_file(root.join("target/1P0A0918.png")).unwrap();
    let listing = scanned("dpdd", dir.path());
    assert_eq!(listing.problems[0].kind, ProblemKind::RankCounts { degraded: 3, clean: 2 });
    assert_eq!(listing.pairs, []);
}
