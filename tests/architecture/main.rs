//! The architecture's rules, held against the text of `src/`: layers, purity, size, no panics.
//!
//! It reads text, not syntax, and relies on what `cargo fmt` makes of the text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scanner;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

/// Each layer may use itself and those below it; neighbours in a layer know nothing of each other.
const LAYERS: [&[&str]; 6] =
    [&["cli"], &["http"], &["actors"], &["providers", "store", "templates"], &["policy"], &["domain"]];

/// What stands beside the layers: who may use it, and what it may use.
const BESIDE: [(&str, &[&str], &[&str]); 3] = [
    ("breakpoint", &["actors"], &[]),
    ("config", &["cli"], &["policy", "domain"]),
    ("supervision", &["cli", "http", "actors"], &[]),
];

/// Layers that are given the time, randomness and everything outside the process.
const PURE: [&str; 2] = ["domain", "policy"];

/// What a pure layer does not name: a path, or the end of one.
const IMPURE: [&str; 19] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "tokio",
    "reqwest",
    "diesel",
    "redis",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "rand::rng",
    "rand::random",
    "Uuid::new_v4",
    "Uuid::now_v7",
];

/// Plain values in an impure place, which a pure layer may name.
const PLAIN: [&str; 3] = ["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr"];

/// Files that panic on purpose, each with the reason.
const PANICKING: [(&str, &str); 1] =
    [("breakpoint.rs", "where a test asks for it; a release build has none of it")];

const MAX_LINES: usize = 400;

/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse\s+([^;]+);").unwrap());
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b\w+(?:::\w+)+|\bcrate::\*").unwrap());
static PANICS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\.unwrap\(\)|\.expect\(|\.(?:unwrap|expect)_err\(|\bpanic!").unwrap());

/// One file of `src/`.
struct Source {
    /// From `src/` on, with `/`.
    name: String,
    lines: usize,
    /// Without comments and tests; the lines keep their numbers.
    code: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        Source { name: name.to_owned(), lines: text.lines().count(), code: production(text) }
    }

    /// The module below the crate's root; none for `lib.rs` and `main.rs`.
    fn module(&self) -> Option<&str> {
        let first = self.name.split('/').next().unwrap().trim_end_matches(".rs");
        (!matches!(first, "lib" | "main")).then_some(first)
    }

    /// How far its module is below the crate's root.
    fn depth(&self) -> usize {
        let folders = self.name.matches('/').count();
        if self.name.ends_with("/mod.rs") { folders } else { folders + 1 }
    }

    /// Every path that it names, with its line; those of a `use` one by one.
    fn paths(&self) -> Vec<(usize, String)> {
        let line = |start: usize| self.code[..start].matches('\n').count() + 1;
        let mut paths = Vec::new();
        for found in USE.captures_iter(&self.code) {
            let mut leaves = Vec::new();
            expand("", &found[1], &mut leaves);
            paths.extend(leaves.into_iter().map(|path| (line(found.get(1).unwrap().start()), path)));
        }
        paths.extend(PATH.find_iter(&self.code).map(|path| (line(path.start()), path.as_str().to_owned())));
        paths.dedup();
        paths
    }

    /// The module below the crate's root that `path` leads to; `*` for all of them.
    fn target<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut rest = path.strip_prefix("self::").unwrap_or(path);
        if let Some(inside) = rest.strip_prefix("crate::") {
            return inside.split("::").next();
        }
        let mut up = 0;
        while let Some(inside) = rest.strip_prefix("super::") {
            (rest, up) = (inside, up + 1);
        }
        // In the tests of a file `super` is that file; what it names there is no module of the root.
        (up > 0 && up >= self.depth()).then(|| rest.split("::").next()).flatten()
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(module) = self.module() else {
            return found;
        };
        if !is_known(module) {
            found.push(format!(
                "src/{}: `{module}` has no layer: say in this test where it stands",
                self.name
            ));
        }
        for (line, path) in self.paths() {
            let at = format!("src/{}:{line}", self.name);
            if let Some(target) = self.target(&path) {
                if target == "*" {
                    found.push(format!("{at}: `{path}` hides what it uses"));
                } else if is_known(target) && !may_use(module, target) {
                    found.push(format!("{at}: `{module}` may not use `{target}`"));
                }
            }
            if PURE.contains(&module)
                && !PLAIN.iter().any(|plain| names(&path, plain))
                && let Some(impure) = IMPURE.iter().find(|impure| names(&path, impure))
            {
                found.push(format!("{at}: `{module}` is pure, it is given what it needs from `{impure}`"));
            }
        }
        found
    }

    fn panics(&self) -> Vec<String> {
        let lines = self.code.lines().enumerate();
        let lines = lines.filter(|(_, line)| PANICS.is_match(line));
        lines.map(|(index, line)| format!("src/{}:{}: {}", self.name, index + 1, line.trim())).collect()
    }
}

fn is_known(module: &str) -> bool {
    LAYERS.iter().any(|layer| layer.contains(&module)) || BESIDE.iter().any(|(name, ..)| *name == module)
}

fn may_use(module: &str, target: &str) -> bool {
    let rank = |name| LAYERS.iter().position(|layer| layer.contains(&name));
    let beside = |name| BESIDE.iter().find(|(beside, ..)| *beside == name);
    module == target
        || match (rank(module), rank(target)) {
            (Some(module), Some(target)) => module < target,
            _ => {
                beside(target).is_some_and(|(_, users, _)| users.contains(&module))
                    || beside(module).is_some_and(|(_, _, used)| used.contains(&target))
            }
        }
}

/// Whether `path` is `name`, or something in it, or ends in it.
fn names(path: &str, name: &str) -> bool {
    let path = format!("::{path}::");
    let full = name.starts_with("std::") || !name.contains("::");
    if full { path.starts_with(&format!("::{name}::")) } else { path.contains(&format!("::{name}::")) }
}

/// The paths of a `use` tree.
fn expand(prefix: &str, tree: &str, leaves: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return leaves.push(format!("{prefix}{path}"));
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (index, character) in group.char_indices().chain([(group.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..index].trim().is_empty() {
                    expand(&format!("{prefix}{head}"), &group[start..index], leaves);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// `text` with empty lines in place of comments and of items that only tests have.
fn production(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let indent = &line[..line.len() - trimmed.len()];
            let end = format!("{indent}}}");
            code.push('\n');
            for line in lines.by_ref() {
                code.push('\n');
                let same = line.starts_with(indent) && !line[indent.len()..].starts_with([' ', '#']);
                if same && (line == end || line.ends_with([';', '}'])) {
                    break;
                }
            }
            continue;
        }
        if !trimmed.starts_with("//") {
            code.push_str(line.split(" // ").next().unwrap());
        }
        code.push('\n');
    }
    code
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let source = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    let sources: Vec<_> = files.iter().map(source).collect();
    assert!(sources.iter().any(|source| source.name == "domain/mod.rs"), "the sources are found");
    sources
}

/// The files below `folder`, without those that only tests have.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn each_layer_uses_only_those_below_it_and_the_pure_ones_nothing_else() {
    assert_none(&sources().iter().flat_map(Source::violations).collect::<Vec<_>>());
}

#[test]
fn no_production_code_panics_on_purpose() {
    let sources = sources();
    let excused = |name: &str| PANICKING.iter().any(|(panicking, _)| *panicking == name);
    let sober = sources.iter().filter(|source| !excused(&source.name));
    assert_none(&sober.flat_map(Source::panics).collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let sources = sources();
    let excused = |name: &str| LONGER.iter().any(|(longer, _)| *longer == name);
    let long = sources.iter().filter(|source| source.lines > MAX_LINES && !excused(&source.name));
    let long = long.map(|source| format!("src/{}: {} lines", source.name, source.lines));
    assert_none(&long.collect::<Vec<_>>());
}
