//! Sets of rain, haze and snow.

use std::collections::BTreeMap;

use defusion_config::Degradation;
use defusion_datasets::{Fit, find};

use crate::{counts, pairs, scanned, tree, write_image};

#[test]
fn rain1400_has_fourteen_rainy_images_of_each_clean_one() {
    let mut files: Vec<String> = Vec::new();
    for part in ["training", "testing"] {
        for scene in [9, 90] {
            files.push(format!("rainy_image_dataset/{part}/ground_truth/{scene}.jpg"));
            files.extend((1..=14).map(|k| format!("rainy_image_dataset/{part}/rainy_image/{scene}_{k}.jpg")));
        }
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let listing = tree("rain1400", &files);
    assert_eq!(counts(&listing), BTreeMap::from([("test", 28), ("train", 28)]));
    let expected =
        "train: rainy_image_dataset/training/rainy_image/9_14.jpg <- rainy_image_dataset/training/ground_truth/9.jpg";
    assert!(pairs(&listing).iter().any(|p| p == expected));
    let spaced = ["testing/rainy image/1_2.jpg", "testing/ground truth/1.jpg"];
    let listing = tree("rain1400", &spaced);
    assert_eq!(pairs(&listing), ["test: testing/rainy image/1_2.jpg <- testing/ground truth/1.jpg"]);
    assert_eq!(listing.absent, ["train"]);
}

#[test]
fn outdoor_rain_is_divided_by_scene() {
    let listing = tree(
        "outdoor_rain",
        &[
            "train/in/im_0540_s80_a04.png",
            "train/in/im_0540_s95_a06.png",
            "train/gt/im_0540.png",
            "train/in/im_0541_s80_a04.png",
            "train/gt/im_0541.png",
            "val/in/im_0901_s80_a05.png",
            "val/gt/im_0901.png",
        ],
    );
    assert_eq!(
        pairs(&listing),
        [
            "test: train/in/im_0541_s80_a04.png <- train/gt/im_0541.png",
            "train: train/in/im_0540_s80_a04.png <- train/gt/im_0540.png",
            "train: train/in/im_0540_s95_a06.png <- train/gt/im_0540.png",
            "val: val/in/im_0901_s80_a05.png <- val/gt/im_0901.png",
        ]
    );
}

#[test]
fn reside_takes_ninety_percent_and_crops_sots() {
    let dir = tempfile::tempdir().unwrap();
    for id in 1..=4 {
        write_image(&dir.path().join(format!("ITS/clear/{id}.png")), 12, 8, false);
        for k in 1..=10 {
            write_image(&dir.path().join(format!("ITS/hazy/{id}_{k}_0.9{k}.png")), 12, 8, false);
        }
    }
    for (file, width) in [("hazy/1400_1.png", 62), ("hazy/1400_2.png", 62), ("gt/1400.png", 64)] {
        write_image(&dir.path().join("SOTS/indoor").join(file), width, 46, false);
    }
    write_image(&dir.path().join("SOTS/outdoor/hazy/0001_0.8_0.2.jpg"), 55, 41, false);
    write_image(&dir.path().join("SOTS/outdoor/gt/0001.png"), 55, 41, false);
    let listing = scanned("reside", dir.path());
    assert_eq!(listing.problems, []);
    let expected = [("held_out", 4), ("test_indoor", 2), ("test_outdoor", 1), ("train", 36)];
    assert_eq!(counts(&listing), BTreeMap::from(expected));
    assert!(listing.pairs.iter().all(|p| (p.fit == Fit::CentreCrop) == p.split.starts_with("test")));
    assert_eq!(listing, scanned("reside", dir.path()), "the division is the same every time");
}

#[test]
fn haze_images_are_divided_by_number() {
    let both = |n: &str, at: [&str; 2]| [format!("{}{n}_hazy.png", at[0]), format!("{}{n}_GT.png", at[1])];
    let files: Vec<String> = ["01", "49", "50", "55"]
        .into_iter()
        .flat_map(|n| both(n, ["Dense_Haze_NTIRE19/hazy/", "Dense_Haze_NTIRE19/GT/"]))
        .collect();
    let listing = tree("dense_haze", &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(counts(&listing), BTreeMap::from([("test", 2), ("train", 2)]));
    assert_eq!(pairs(&listing)[0], "test: Dense_Haze_NTIRE19/hazy/50_hazy.png <- Dense_Haze_NTIRE19/GT/50_GT.png");
    let files: Vec<String> = ["01", "50", "51"].into_iter().flat_map(|n| both(n, ["", ""])).collect();
    let listing = tree("nh_haze", &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        pairs(&listing),
        [
            "test: 51_hazy.png <- 51_GT.png",
            "test_others: 01_hazy.png <- 01_GT.png",
            "test_others: 50_hazy.png <- 50_GT.png"
        ]
    );
}

#[test]
fn snow100k_unpacks_to_its_makers_path() {
    let deep = "media/jdway/GameSSD/overlapping/test/Snow100K-L";
    let listing = tree(
        "snow100k",
        &[
            "Snow100K-training/synthetic/beautiful_smile_00001.jpg",
            "Snow100K-training/gt/beautiful_smile_00001.jpg",
            &format!("{deep}/synthetic/winter_7.jpg"),
            &format!("{deep}/gt/winter_7.jpg"),
            "Snow100K-S/synthetic/a.jpg",
            "Snow100K-S/gt/a.jpg",
        ],
    );
    assert_eq!(counts(&listing), BTreeMap::from([("test_l", 1), ("test_s", 1), ("train", 1)]));
    assert_eq!(pairs(&listing)[0], format!("test_l: {deep}/synthetic/winter_7.jpg <- {deep}/gt/winter_7.jpg"));
    assert_eq!(listing.absent, ["test_m"]);
}

#[test]
fn raindrops_test_a_stays_apart_from_test_b() {
    let mut files = Vec::new();
    for (part, n) in [("train", 0), ("test_a", 1), ("test_b", 1), ("test_b", 2)] {
        files.push(format!("{part}/data/{n}_rain.png"));
        files.push(format!("{part}/gt/{n}_clean.png"));
    }
    let listing = tree("raindrop", &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        pairs(&listing),
        [
            "test_a: test_a/data/1_rain.png <- test_a/gt/1_clean.png",
            "test_b: test_b/data/1_rain.png <- test_b/gt/1_clean.png",
            "test_b: test_b/data/2_rain.png <- test_b/gt/2_clean.png",
            "train: train/data/0_rain.png <- train/gt/0_clean.png",
        ]
    );
    let copy = tree("raindrop", &["test_a/input/0_rain.png", "test_a/gt/0_rain.png"]);
    assert_eq!(pairs(&copy), ["test_a: test_a/input/0_rain.png <- test_a/gt/0_rain.png"]);
}

#[test]
fn rainds_names_the_degradations_of_each_folder() {
    let mut files = vec!["RainDS_real/train_set/gt/1.png".to_owned()];
    for folder in ["raindrop", "rainstreak", "rainstreak_raindrop"] {
        files.push(format!("RainDS_real/train_set/{folder}/1.png"));
    }
    let listing = tree("rainds", &files.iter().map(String::as_str).collect::<Vec<_>>());
    let got: Vec<_> = listing.pairs.iter().map(|p| p.degradations.clone()).collect();
    let (rain, drop) = (Degradation::Rain, Degradation::Raindrop);
    assert_eq!(got, [vec![drop], vec![rain], vec![rain, drop]]);
    assert!(pairs(&listing).iter().all(|p| p.ends_with("<- RainDS_real/train_set/gt/1.png")));
    let rainds = find("rainds").unwrap();
    let scenes: Vec<_> = listing.pairs.iter().map(|p| rainds.scene("train", &p.key)).collect();
    assert!(scenes[0].is_some() && scenes.iter().all(|scene| *scene == scenes[0]));
    assert_ne!(rainds.scene("train", "train_set/raindrop/2.png"), scenes[0]);
    assert_eq!(rainds.scene("train", "elsewhere/1.png"), None);
    assert!(rainds.has_partial("train") && !find("raindrop").unwrap().has_partial("train"));
}
