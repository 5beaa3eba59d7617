//! Folders, files and stores as people have them: what is read, what is passed over, and what is refused in which words.

use std::path::Path;
use std::process::{Command, Output};

use defusion_tests::web::WebServer;
use defusion_tests::{Sandbox, assert_success, defusion_data, mpirun, transcript, write_images};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

fn prepare(sandbox: &Sandbox, from: &str, layout: &str) -> Command {
    let mut command = defusion_data();
    command.args(["prepare", "--dataset", "d", "--layout", layout, "--from"]).arg(sandbox.path(from));
    command.arg("--to").arg(sandbox.path("shards"));
    command
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output: Output = command.output().expect("defusion-data runs");
    (output.status.code(), transcript(&output))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder made");
    std::fs::write(path, bytes).expect("written");
}

/// A textured image of 48x32 pixels, as it was photographed with this EXIF orientation.
fn jpeg(orientation: u8) -> Vec<u8> {
    let image = RgbImage::from_fn(48, 32, |x, y| image::Rgb([(5 * x) as u8, (7 * y) as u8, (x * y) as u8]));
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0\0\0\0\0".to_vec();
    exif[18] = orientation;
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.set_exif_metadata(exif).expect("EXIF");
    encoder.write_image(&image, 48, 32, ExtendedColorType::Rgb8).expect("encoded");
    bytes
}

#[test]
fn half_a_photograph_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let whole = jpeg(1);
    write(&sandbox.path("images/whole.jpg"), &whole);
    write(&sandbox.path("images/half.jpg"), &whole[..whole.len() / 2]);
    write(&sandbox.path("images/empty.png"), b"");
    write(&sandbox.path("images/page.png"), b"<html>404</html>");
    let (code, said) = run(&mut prepare(&sandbox, "images", "folder"));
    assert_eq!(code, Some(2), "{said}");
    for words in
        ["half.jpg: cannot be decoded: the file is truncated", "empty.png: cannot be decoded: the file is empty"]
    {
        assert!(said.contains(words), "{said}");
    }
    assert!(said.contains("page.png: cannot be decoded: it is no image") && said.contains("3 problem(s)"), "{said}");
    let (code, said) = run(prepare(&sandbox, "images", "folder").arg("--leave-out-problems"));
    assert!(code == Some(0) && said.contains("train: 1 pairs"), "{said}");
}

#[test]
fn what_systems_leave_in_folders_is_passed_over_and_counted() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("images"), 2, 0);
    let image = std::fs::read(sandbox.path("images/000.png")).expect("read");
    for copy in [".ipynb_checkpoints/000-checkpoint.png", "__MACOSX/000.png", "deep/.thumbnails/000.png"] {
        write(&sandbox.path("images").join(copy), &image);
    }
    for other in ["._000.png", ".DS_Store", "Thumbs.db", "notes.txt", "more.TXT", "clip.gif", "LICENSE"] {
        write(&sandbox.path("images").join(other), b"\0\x05\x16\x07");
    }
    std::os::unix::fs::symlink(sandbox.path("images"), sandbox.path("images/deep/again")).expect("linked");
    let (code, said) = run(&mut prepare(&sandbox, "images", "folder"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("train: 2 pairs"), "{said}");
    let counted = "passed over: 2 hidden folders, 2 hidden files, 1 system folder, 1 system file, 1 link to a folder above, \
                   1 file without an extension, 1 .gif, 2 .txt\n";
    assert!(said.contains(counted), "{said}");
    // Nothing to be had: then this is the error.
    write(&sandbox.path("clips/a.gif"), b"GIF89a");
    let (code, said) = run(prepare(&sandbox, "clips", "folder").arg("--overwrite"));
    assert!(
        code == Some(2) && said.contains("holds no file of dataset folder") && said.contains("found 1 .gif"),
        "{said}"
    );
}

#[test]
fn every_extension_of_a_known_format_is_read() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("from"), 1, 0);
    let png = std::fs::read(sandbox.path("from/000.png")).expect("read");
    let webp = sandbox.path("images/c.webp");
    for (name, bytes) in [("a.png", &png), ("e.PNG", &png), ("b.jfif", &jpeg(1)), ("d.jpe", &jpeg(1))] {
        write(&sandbox.path("images").join(name), bytes);
    }
    image::open(sandbox.path("images/a.png")).expect("read").save(webp).expect("written");
    let (code, said) = run(&mut prepare(&sandbox, "images", "folder"));
    assert!(code == Some(0) && said.contains("train: 5 pairs") && !said.contains("passed over"), "{said}");
}

#[test]
fn a_photograph_is_upright_on_both_sides_of_a_pair() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("pairs/input/p.jpg"), &jpeg(6));
    let upright = RgbImage::from_pixel(32, 48, image::Rgb([9, 99, 200]));
    std::fs::create_dir_all(sandbox.path("pairs/target")).expect("folder made");
    upright.save(sandbox.path("pairs/target/p.png")).expect("written");
    let (code, said) = run(prepare(&sandbox, "pairs", "pairs").args(["--degradations", "rain"]));
    assert!(code == Some(0) && said.contains("train: 1 pairs"), "{said}");
}

#[test]
fn places_that_are_meant_otherwise_are_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    write_images(&sandbox.path("images"), 1, 0);
    let file = format!("file://{}/exp#2", sandbox.path("").display());
    for (to, words) in [(file.as_str(), "%23"), (r"C:\shards", "Windows"), ("s3:/bucket/shards", "s3://bucket/shards")]
    {
        let mut command = defusion_data();
        command.args(["prepare", "--dataset", "d", "--layout", "folder", "--from"]).arg(sandbox.path("images"));
        let (code, said) = run(command.args(["--to", to]).current_dir(sandbox.path("")));
        assert!(code == Some(2) && said.contains(words), "{to}: {said}");
    }
    assert_eq!(std::fs::read_dir(sandbox.path("")).expect("read").count(), 1);
}

/// Prepares two images and returns their shards' folder.
fn prepared(sandbox: &Sandbox) {
    write_images(&sandbox.path("images"), 2, 0);
    assert_success(&prepare(sandbox, "images", "folder").output().expect("defusion-data runs"));
}

#[test]
fn a_web_server_without_parts_of_files_serves_shards() {
    let sandbox = Sandbox::new();
    prepared(&sandbox);
    let server = WebServer::start(&sandbox.path("shards"), None);
    let (code, said) = run(defusion_data().args(["verify", &format!("{}/d", server.url())]));
    assert!(code == Some(0) && said.contains("1 shards with 2 pairs"), "{said}");
}

#[test]
fn a_store_that_cannot_be_read_is_not_damaged() {
    let sandbox = Sandbox::new();
    prepared(&sandbox);
    let unread = |place: &str| {
        let (code, said) = run(defusion_data().args(["verify", place]));
        assert!(code == Some(1) && said.contains("1 shards could not be read"), "{said}");
        assert!(!said.contains("damaged") && !said.contains("prepare"), "{said}");
    };
    unread(&format!("{}/d", WebServer::start(&sandbox.path("shards"), Some(".parquet")).url()));
    let (folder, shard) = (sandbox.path("shards/d"), sandbox.path("shards/d/part-00000.parquet"));
    let bytes = std::fs::read(&shard).expect("read");
    std::fs::remove_file(&shard).expect("removed");
    std::os::unix::fs::symlink(&shard, &shard).expect("a link to itself");
    unread(folder.to_str().expect("UTF-8"));
    std::fs::remove_file(&shard).expect("removed");
    let missing = run(defusion_data().arg("verify").arg(&folder));
    assert!(missing.0 == Some(2) && missing.1.contains("does not exist"), "{}", missing.1);
    std::fs::write(&shard, &bytes[1..]).expect("written");
    let (code, said) = run(defusion_data().arg("verify").arg(sandbox.path("shards/d")));
    assert!(code == Some(2) && said.contains("1 shards are damaged"), "{said}");
}

#[test]
fn a_file_system_without_locks_is_gone_on_with() {
    let sandbox = Sandbox::new();
    prepared(&sandbox);
    // Lustre without its option, some NFS: flock says ENOLCK.
    let source = "#include <errno.h>\nint flock(int f, int how) { errno = ENOLCK; return -1; }\n";
    write(&sandbox.path("locks.c"), source.as_bytes());
    let library = sandbox.path("locks.so");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(sandbox.path("locks.c")).output();
    assert_success(&cc.expect("a C compiler"));
    let server = WebServer::start(&sandbox.path("shards"), None);
    let mut command = defusion_data();
    command.args(["verify", &format!("{}/d", server.url())]).env("LD_PRELOAD", &library);
    let (code, said) = run(&mut command);
    assert!(code == Some(0) && said.contains("1 shards with 2 pairs"), "{said}");
    assert!(said.contains("does not lock files"), "{said}");
}

/// `defusion-data list` of a bucket, with these variables and no others of AWS.
fn list_bucket(sandbox: &Sandbox, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = defusion_data();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.args(["list", "--shards", "s3://bucket/shards"]).env("HOME", sandbox.path("home"));
    run(command.envs(variables.iter().copied()))
}

#[test]
fn what_a_bucket_lacks_is_named() {
    let sandbox = Sandbox::new();
    let credentials = "[default]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = hush\n[corp]\nrole_arn = x\n";
    write(&sandbox.path("home/.aws/credentials"), credentials.as_bytes());
    write(&sandbox.path("home/.aws/config"), b"[default]\nregion = eu-north-1\n");
    let server = WebServer::start(&sandbox.path("nothing"), None);
    let endpoint = ("AWS_ENDPOINT_URL", server.url());
    let (code, said) = list_bucket(&sandbox, &[endpoint]);
    assert!(code == Some(2) && said.contains("AWS_ALLOW_HTTP=true"), "{said}");
    let (code, said) = list_bucket(&sandbox, &[("AWS_ENDPOINT_URL", "127.0.0.1:9000"), ("AWS_ALLOW_HTTP", "true")]);
    assert!(code == Some(2) && said.contains("it begins with https://") && !said.contains("panicked"), "{said}");
    for (profile, words) in [("none", "no such profile"), ("corp", "role_arn")] {
        let (code, said) = list_bucket(&sandbox, &[endpoint, ("AWS_PROFILE", profile)]);
        assert!(code == Some(2) && said.contains(words) && said.contains(profile), "{said}");
    }
    assert!(server.heard().is_empty());
    // The keys and the region of the profile are what the request is signed with; the secret is nowhere.
    let (_, said) = list_bucket(&sandbox, &[endpoint, ("AWS_ALLOW_HTTP", "true")]);
    let heard = server.heard().join("\n");
    assert!(heard.contains("Credential=PROFILEKEY/") && heard.contains("/eu-north-1/s3/"), "{heard}\n{said}");
    assert!(!heard.contains("hush") && !said.contains("hush"), "{said}");
}

#[test]
fn an_image_smaller_than_ssims_window_does_not_end_a_training() {
    let sandbox = Sandbox::with_shards();
    let ten = RgbImage::from_fn(10, 10, |x, y| image::Rgb([(20 * x) as u8, (20 * y) as u8, 90]));
    ten.save(sandbox.path("images/photos-test/ten.png")).expect("written");
    let mut command = defusion_data();
    command.args(["prepare", "--overwrite", "--dataset", "photos-test", "--layout", "folder", "--from"]);
    command.arg(sandbox.path("images/photos-test")).arg("--to").arg(sandbox.path("shards"));
    assert_success(&command.output().expect("defusion-data runs"));
    let sets = ["tokenizer.iterations=2", "diffusion.iterations=3", "evaluation.validate_every=1"];
    assert_success(&mpirun(2).args(sandbox.config_args("run", &sets)).output().expect("mpirun runs"));
    let lines = std::fs::read_to_string(sandbox.path("run/metrics.jsonl")).expect("metrics.jsonl");
    assert!(lines.contains("validation"), "{lines}");
}
