//! Every descriptor against a small tree in the dataset's published layout, made of real image files.

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::Degradation;
use defusion_datasets::{Descriptor, Fit, Listing, ProblemKind, ScanError, find, list, scan, scan_csv};

/// Writes a picture in the format that its name says; 16 bits where `deep`.
fn picture(path: &Path, width: u32, height: u32, deep: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let grey = |x: u32, y: u32| (x * 7 + y * 13) as u8;
    if deep {
        let deep = |x, y| image::Rgb([u16::from(grey(x, y)) * 257 + 3, 9, 60000]);
        image::ImageBuffer::from_fn(width, height, deep).save(path).unwrap();
    } else {
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([grey(x, y), 90, 200])).save(path).unwrap();
    }
}

/// A tree of these files, and what the descriptor finds in it, counts aside: a small tree never has the published ones.
fn tree(name: &str, files: &[&str]) -> Listing {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        picture(&dir.path().join(file), 12, 8, false);
    }
    scanned(name, dir.path())
}

fn scanned(name: &str, root: &Path) -> Listing {
    let mut listing = scan(&find(name).unwrap(), root).unwrap();
    listing.problems.retain(|p| !matches!(p.kind, ProblemKind::Count { .. }));
    let relative = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
    for pair in &mut listing.pairs {
        pair.gt = relative(&pair.gt);
        pair.lq = pair.lq.as_deref().map(relative);
    }
    listing
}

/// `split: lq <- gt` of every pair.
fn pairs(listing: &Listing) -> Vec<String> {
    assert_eq!(listing.problems, [], "no problems expected");
    let show = |p: &defusion_datasets::Pair| {
        let lq = p.lq.as_ref().map_or(String::new(), |lq| format!("{} <- ", lq.display()));
        format!("{}: {lq}{}", p.split, p.gt.display())
    };
    listing.pairs.iter().map(show).collect()
}

/// Number of pairs by split.
fn counts(listing: &Listing) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for pair in &listing.pairs {
        *counts.entry(pair.split.as_str()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn every_descriptor_is_sound() {
    let all = list().unwrap();
    assert_eq!(all.len(), 23);
    for (n, set) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other.name != set.name), "{} twice", set.name);
        assert!(!set.title.is_empty() && !set.task.is_empty() && !set.licence.is_empty() && !set.source.is_empty());
        assert_eq!(find(&set.name).unwrap().name, set.name);
    }
    let error = find("gorpo").unwrap_err().to_string();
    assert!(error.contains("`gorpo`") && error.contains("gopro, gopro_gamma"), "{error}");
}

#[test]
fn rain1400_has_fourteen_rainy_pictures_of_each_clean_one() {
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
        picture(&dir.path().join(format!("ITS/clear/{id}.png")), 12, 8, false);
        for k in 1..=10 {
            picture(&dir.path().join(format!("ITS/hazy/{id}_{k}_0.9{k}.png")), 12, 8, false);
        }
    }
    for (file, width) in [("hazy/1400_1.png", 62), ("hazy/1400_2.png", 62), ("gt/1400.png", 64)] {
        picture(&dir.path().join("SOTS/indoor").join(file), width, 46, false);
    }
    picture(&dir.path().join("SOTS/outdoor/hazy/0001_0.8_0.2.jpg"), 55, 41, false);
    picture(&dir.path().join("SOTS/outdoor/gt/0001.png"), 55, 41, false);
    let listing = scanned("reside", dir.path());
    assert_eq!(listing.problems, []);
    let expected = [("held_out", 4), ("test_indoor", 2), ("test_outdoor", 1), ("train", 36)];
    assert_eq!(counts(&listing), BTreeMap::from(expected));
    assert!(listing.pairs.iter().all(|p| (p.fit == Fit::CentreCrop) == p.split.starts_with("test")));
    assert_eq!(listing, scanned("reside", dir.path()), "the division is the same every time");
}

#[test]
fn haze_pictures_are_divided_by_number() {
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
            picture(&dir.path().join(format!("{folder}/scene00{scene}/blur/blur_{k}.png")), 9, 9, false);
            picture(&dir.path().join(format!("{folder}/scene00{scene}/gt/gt_{k}.png")), 9, 9, false);
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
        picture(&root.join(format!("source/1P0A{n:04}.png")), 12, 8, true);
        picture(&root.join(format!("target/1P0A{:04}.png", n - 1)), 12, 8, true);
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

#[test]
fn the_other_sets() {
    let simple: [(&str, &[&str], &str); 10] = [
        (
            "lhp",
            &["LHP-Rain/input/1/a.png", "LHP-Rain/gt/1/a.png"],
            "test: LHP-Rain/input/1/a.png <- LHP-Rain/gt/1/a.png",
        ),
        (
            "realsnow",
            &["testing/synthetic/1.png", "testing/gt/1.png"],
            "test: testing/synthetic/1.png <- testing/gt/1.png",
        ),
        (
            "realsnow",
            &["video2imgs_IN_testing_re/1.png", "video2imgs_GT_testing_re/1.png"],
            "test: video2imgs_IN_testing_re/1.png <- video2imgs_GT_testing_re/1.png",
        ),
        ("div2k", &["DIV2K_valid_HR/0801.png"], "train: DIV2K_valid_HR/0801.png"),
        ("flickr2k", &["Flickr2K/000001.png"], "train: Flickr2K/000001.png"),
        ("live1", &["bikes.bmp"], "test: bikes.bmp"),
        (
            "euvp",
            &["test_samples/Inp/7.jpg", "test_samples/GTr/7.jpg"],
            "test: test_samples/Inp/7.jpg <- test_samples/GTr/7.jpg",
        ),
        ("folder", &["a/b/c.tif"], "train: a/b/c.tif"),
        (
            "div2k",
            &["DIV2K/DIV2K_train_HR/0001.png", "DIV2K/DIV2K_train_LR/0001x2.png"],
            "train: DIV2K/DIV2K_train_HR/0001.png",
        ),
        ("folder", &["x.jpeg"], "train: x.jpeg"),
    ];
    for (name, files, expected) in simple {
        assert_eq!(pairs(&tree(name, files)), [expected], "{name}");
    }
    let files: Vec<String> = (1..=20).map(|n| format!("pristine_images/{n:05}.bmp")).collect();
    let listing = tree("wed", &files.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(counts(&listing), BTreeMap::from([("test", 2), ("train", 18)]));
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(scan(&find("turbid").unwrap(), dir.path()), Err(ScanError::NoLayout { .. })));
    let error = scan(&find("gopro").unwrap(), dir.path()).unwrap_err().to_string();
    assert!(error.contains("no file of dataset gopro") && error.contains("train/{scene}/blur/{frame}"), "{error}");
    assert!(matches!(scan(&find("gopro").unwrap(), &dir.path().join("no")), Err(ScanError::Folder { .. })));
}

#[test]
fn counts_and_unpaired_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["Inp/1.jpg", "GTr/1.jpg", "Inp/2.jpg", "GTr/3.jpg", "Inp/4.jpg", "GTr/4.jpg", "GTr/4.png"] {
        picture(&dir.path().join("test_samples").join(file), 8, 8, false);
    }
    let listing = scan(&find("euvp").unwrap(), dir.path()).unwrap();
    let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "test: whole split: 1 pairs, but 515 are published",
            "test: test_samples/Inp/2.jpg: unpaired: no clean picture test_samples/GTr/{name}.{ext}",
            "test: test_samples/GTr/3.jpg: unpaired: no degraded picture belongs to it",
            "test: test_samples/Inp/4.jpg: several clean pictures fit: test_samples/GTr/4.jpg, test_samples/GTr/4.png",
        ]
    );
}

#[test]
fn a_csv_names_pairs_of_any_layout() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a.png", "b.png", "c.png"] {
        picture(&dir.path().join(file), 8, 8, false);
    }
    let csv = dir.path().join("pairs.csv");
    let rows = "lq,gt,task,split\na.png,b.png,rain+raindrop,train\n,c.png,,test\na.png,b.png,rain,train\n\
                x.png,b.png,rain,train\na.png,b.png,drizzle,train\na.png,b.png,,train\na.png\n";
    std::fs::write(&csv, rows).unwrap();
    let listing = scan_csv(&csv).unwrap();
    let keys: Vec<_> = listing.pairs.iter().map(|p| (p.split.as_str(), p.key.as_str(), p.lq.is_some())).collect();
    assert_eq!(keys, [("test", "c.png", false), ("train", "a.png", true)]);
    assert_eq!(listing.pairs[1].degradations, [Degradation::Rain, Degradation::Raindrop]);
    let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    for words in [
        "x.png: listed, but not there",
        "line 6: task: `drizzle`",
        "line 7: a degraded",
        "line 8",
        "a.png: occurs twice",
    ] {
        assert!(problems.iter().any(|p| p.contains(words)), "{words}: {problems:#?}");
    }
    std::fs::write(&csv, "input,target\n").unwrap();
    assert!(scan_csv(&csv).unwrap_err().to_string().contains("no column `lq`"));
}

#[test]
fn a_known_rule_needs_only_yaml() {
    let text = "{name: mine, title: M, task: t, degradations: [haze], role: train, licence: l, source: s, \
                splits: {train: {count: 1, sources: [{layouts: [{lq: 'h/{n}-hazy.{ext}', gt: 'c/{n}.{ext}'}]}]}}}";
    let set = Descriptor::parse(text, "mine.yaml").unwrap();
    let dir = tempfile::tempdir().unwrap();
    picture(&dir.path().join("h/x-hazy.png"), 8, 8, false);
    picture(&dir.path().join("c/x.png"), 8, 8, false);
    let listing = scan(&set, dir.path()).unwrap();
    assert_eq!((listing.pairs.len(), listing.problems.len()), (1, 0));
    for (from, to, words) in [
        ("licence: l,", "licence: l, colour: red,", "unknown field `colour`"),
        ("{n}-hazy", "{n-hazy", "a field's name"),
        ("name: mine", "name: ../mine", "lower-case letters"),
        ("degradations: [haze]", "degradations: [fog]", "fog"),
        ("{layouts:", "{where: {k: [1, 2]}, layouts:", "no field `k`"),
    ] {
        let error = Descriptor::parse(&text.replace(from, to), "mine.yaml").unwrap_err().to_string();
        assert!(error.contains("mine.yaml") && error.contains(words), "{error}");
    }
    let silent = Descriptor::parse(&text.replace("degradations: [haze], ", ""), "mine.yaml").unwrap();
    assert!(matches!(scan(&silent, dir.path()), Err(ScanError::NoDegradations { .. })));
}
