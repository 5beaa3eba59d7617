//! Every descriptor against a small tree in the dataset's published layout, made of real image files.

mod camera;
mod passed_over;
mod weather;

use std::collections::BTreeMap;
use std::path::Path;

use defusion_config::Degradation;
use defusion_datasets::{Descriptor, Listing, ProblemKind, ScanError, find, list, scan, scan_csv};

/// Writes an image in the format that its name says; 16 bits if `deep`.
fn write_image(path: &Path, width: u32, height: u32, deep: bool) {
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
        write_image(&dir.path().join(file), 12, 8, false);
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
        write_image(&dir.path().join("test_samples").join(file), 8, 8, false);
    }
    let listing = scan(&find("euvp").unwrap(), dir.path()).unwrap();
    let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "test: whole split: 1 pairs, but 515 are published",
            "test: test_samples/Inp/2.jpg: unpaired: no clean image test_samples/GTr/{name}.{ext}",
            "test: test_samples/GTr/3.jpg: unpaired: no degraded image belongs to it",
            "test: test_samples/Inp/4.jpg: several clean images fit: test_samples/GTr/4.jpg, test_samples/GTr/4.png",
        ]
    );
}

#[test]
fn a_csv_names_pairs_of_any_layout() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a.png", "b.png", "c.png"] {
        write_image(&dir.path().join(file), 8, 8, false);
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
    write_image(&dir.path().join("h/x-hazy.png"), 8, 8, false);
    write_image(&dir.path().join("c/x.png"), 8, 8, false);
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
