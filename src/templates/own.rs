//! Reading the bank's own templates.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind};
use regex::Regex;

use super::error::{TemplateLoadError, TemplateProblem};
use super::locale;
use super::part::Part;

/// The folder for recipients whose language has none.
pub(super) const DEFAULT: &str = "default";

/// No message needs more; it keeps a stray file from filling the memory.
const LARGEST_FILE: u64 = 256 * 1024;

/// What a template may use without defining it.
const GIVEN: &[&str] =
    &["event", "payload", "recipient", "digest", "lang", "self", "super", "loop", "caller"];

/// One file of the bank's.
pub(super) struct OwnFile {
    pub(super) name: String,
    /// Normalized, or `default`.
    pub(super) locale: String,
    pub(super) part: Part,
    pub(super) source: String,
    path: PathBuf,
}

/// Reads `<name>/<locale>/<part>` below `dir`.
pub(super) fn read(dir: &Path, problems: &mut Vec<TemplateProblem>) -> Vec<OwnFile> {
    let mut files = BTreeMap::new();
    for (name, folder) in entries(dir, problems) {
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
        {
            let what =
                "a template's folder is named after an event type: lower case, digits, `.`, `_` and `-`";
            problems.push(problem(&folder, what));
            continue;
        }
        for (tag, folder) in entries(&folder, problems) {
            if !locale::is_tag(&tag) {
                problems.push(problem(
                    &folder,
                    "the folder's name is no language tag, such as `en`, `en-GB`, or `default`",
                ));
                continue;
            }
            for (file, path) in entries(&folder, problems) {
                let Some(part) = Part::of_file(&file) else {
                    let names = Part::ALL.map(Part::file).join("`, `");
                    problems.push(problem(&path, &format!("no channel has a file of this name: `{names}`")));
                    continue;
                };
                let locale = locale::normalized(&tag);
                match text(&path) {
                    Err(what) => problems.push(problem(&path, &what)),
                    Ok(source) => {
                        let key = (name.clone(), locale.clone(), part);
                        let read = OwnFile { name: name.clone(), locale, part, source, path: path.clone() };
                        if let Some(twin) = files.insert(key, read) {
                            let what = format!("`{}` is for the same locale", twin.path.display());
                            problems.push(problem(&path, &what));
                        }
                    }
                }
            }
        }
    }
    files.into_values().collect()
}

fn problem(path: &Path, what: &str) -> TemplateProblem {
    TemplateProblem { path: path.to_owned(), line: None, what: what.to_owned() }
}

/// What a folder holds, in the order of the names, but for hidden files and `README.md`.
fn entries(dir: &Path, problems: &mut Vec<TemplateProblem>) -> BTreeMap<String, PathBuf> {
    let mut entries = BTreeMap::new();
    let list = match std::fs::read_dir(dir) {
        Ok(list) => list,
        Err(error) => {
            problems.push(problem(dir, &format!("it cannot be read as a folder: {error}")));
            return entries;
        }
    };
    for entry in list {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') && name != "README.md" {
                    entries.insert(name, entry.path());
                }
            }
            Err(error) => problems.push(problem(dir, &format!("it cannot be listed: {error}"))),
        }
    }
    entries
}

fn text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?.len();
    if size > LARGEST_FILE {
        return Err(format!("it has {size} bytes; a template may have {LARGEST_FILE}"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}

/// Parses the files into the environment, and looks for names that nothing defines.
pub(super) fn parse(
    files: &[OwnFile],
    environment: &mut Environment<'static>,
    mut problems: Vec<TemplateProblem>,
) -> Result<(), TemplateLoadError> {
    for file in files {
        let key = super::key(&file.name, &file.locale, file.part);
        if let Err(error) = environment.add_template_owned(key.clone(), file.source.clone()) {
            let what = format!("{}", Parse(&error));
            problems.push(TemplateProblem { path: file.path.clone(), line: error.line(), what });
            continue;
        }
        let globals: HashSet<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        let undeclared =
            environment.get_template(&key).map(|t| t.undeclared_variables(false)).unwrap_or_default();
        for name in undeclared {
            if !GIVEN.contains(&name.as_str()) && !globals.contains(&name) {
                let what = format!("`{name}` is unknown: a template has `payload`, `event` and `recipient`");
                problems.push(TemplateProblem {
                    path: file.path.clone(),
                    line: line_of(&file.source, &name),
                    what,
                });
            }
        }
        problems.extend(unknown_words(file, environment));
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    Err(TemplateLoadError { problems })
}

/// An error of the parser without the file's name, which the problem has already.
struct Parse<'a>(&'a minijinja::Error);

impl std::fmt::Display for Parse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.kind())?;
        self.0.detail().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// The engine looks filters, tests and templates up only when it comes to them, perhaps in a branch
/// that one message in a thousand takes. So they are looked up here.
fn unknown_words(file: &OwnFile, environment: &Environment<'static>) -> Vec<TemplateProblem> {
    let Some(words) = WORDS.as_ref() else { return Vec::new() };
    let blank = |pattern: &Regex, text: &str| {
        pattern
            .replace_all(text, |found: &regex::Captures<'_>| {
                found[0].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect::<String>()
            })
            .into_owned()
    };
    let source = blank(&words.comment, &file.source);
    let mut state = environment.empty_state();
    let mut problems = Vec::new();
    let mut report = |at: usize, what: String| {
        let line = 1 + source.get(..at).map_or(0, |before| before.matches('\n').count());
        problems.push(TemplateProblem { path: file.path.clone(), line: Some(line), what });
    };
    for tag in words.tag.find_iter(&source) {
        for name in words.template.captures_iter(tag.as_str()).filter_map(|found| found.get(1)) {
            if environment.get_template(name.as_str()).is_err() {
                report(
                    tag.start() + name.start(),
                    format!("`{}` is no template: only `layout.html` is", name.as_str()),
                );
            }
        }
        let code = blank(&words.string, tag.as_str());
        for name in words.filter.captures_iter(&code).filter_map(|found| found.get(1)) {
            let applied = state.apply_filter(name.as_str(), &[]);
            if applied.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter) {
                report(tag.start() + name.start(), format!("there is no filter `{}`", name.as_str()));
            }
        }
        for name in words.test.captures_iter(&code).filter_map(|found| found.get(1)) {
            let performed = state.perform_test(name.as_str(), &[]);
            if performed.is_err_and(|error| error.kind() == ErrorKind::UnknownTest) {
                report(tag.start() + name.start(), format!("there is no test `{}`", name.as_str()));
            }
        }
    }
    problems
}

/// The first line that has the name.
fn line_of(source: &str, name: &str) -> Option<usize> {
    source.lines().position(|line| line.contains(name)).map(|at| at + 1)
}

/// The places in a template's source that name something.
struct Words {
    comment: Regex,
    tag: Regex,
    string: Regex,
    filter: Regex,
    test: Regex,
    template: Regex,
}

static WORDS: LazyLock<Option<Words>> = LazyLock::new(|| {
    let regex = |pattern| Regex::new(pattern).ok();
    Some(Words {
        comment: regex(r"(?s)\{#.*?#\}|\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}")?,
        tag: regex(r"(?s)\{\{.*?\}\}|\{%.*?%\}")?,
        string: regex(r#"(?s)"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"#)?,
        filter: regex(r"(?:\||%-?\s*filter)\s*([A-Za-z_]\w*)")?,
        test: regex(r"\bis\s+(?:not\s+)?([A-Za-z_]\w*)")?,
        template: regex(r#"%-?\s*(?:extends|include|import|from)\s+["']([^"']+)["']"#)?,
    })
});
