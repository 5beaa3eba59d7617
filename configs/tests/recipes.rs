//! Every recipe that is shipped must parse and validate.

use std::path::{Path, PathBuf};

use defusion_config::Resolved;

fn recipes() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_recipe_parses_and_is_named_like_its_file() {
    let recipes = recipes();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for path in recipes {
        let recipe = Resolved::load(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(Some(recipe.config.name.as_str()), path.file_stem().and_then(|s| s.to_str()));
    }
}

#[test]
fn a_recipe_written_out_in_full_is_the_same_recipe() {
    for path in recipes() {
        let recipe = Resolved::load(&path, &[]).unwrap();
        let text = recipe.to_yaml().unwrap();
        let again = Resolved::parse(&text, Path::new("resolved.yaml"), &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(again.config, recipe.config);
        assert_eq!(again.digest(), recipe.digest());
    }
}
