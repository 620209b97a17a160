#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

/// A JSON value that can be spelled in more than one way.
#[derive(Debug, Clone)]
enum Tree {
    Word(&'static str),
    /// Digits and a power of ten.
    Number(i64, i32),
    Text(String),
    Array(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(Tree::Word),
        (any::<i64>(), -30..30_i32).prop_map(|(digits, power)| Tree::Number(digits, power)),
        "[^\0]{0,12}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            proptest::collection::btree_map("[^\0]{0,6}", inner, 0..6).prop_map(Tree::Object),
        ]
    })
}

/// Writes a tree; `style` chooses the order of keys, blanks, escapes and the spelling of numbers.
fn spell(tree: &Tree, style: &mut impl FnMut(u32) -> u32) -> String {
    let blank = |style: &mut dyn FnMut(u32) -> u32| ["", " ", "\n\t", "\r\n  "][style(4) as usize];
    match tree {
        Tree::Word(word) => (*word).to_owned(),
        Tree::Number(digits, power) => match style(4) {
            0 => format!("{digits}e{power}"),
            1 => format!("{digits}.000E{power:+}"),
            2 => format!("{digits}0e{}", power - 1),
            _ if *power >= 0 && *digits != 0 => format!("{digits}{}", "0".repeat(*power as usize)),
            _ => format!("{digits}0.0e{}", power - 1),
        },
        Tree::Text(text) => {
            if style(2) == 0 {
                return serde_json::to_string(text).unwrap();
            }
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{units}\"")
        }
        Tree::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| format!("{}{}", blank(style), spell(item, style))).collect();
            format!("[{}{}]", items.join(","), blank(style))
        }
        Tree::Object(fields) => {
            let mut fields: Vec<(&String, &Tree)> = fields.iter().collect();
            for at in (1..fields.len()).rev() {
                fields.swap(at, style(at as u32 + 1) as usize);
            }
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(key, value)| {
                    let key = spell(&Tree::Text(key.clone()), style);
                    format!("{}{key}{}:{}", blank(style), blank(style), spell(value, style))
                })
                .collect();
            format!("{{{}{}}}", fields.join(","), blank(style))
        }
    }
}

/// A stream of choices from a seed.
fn choices(mut seed: u64) -> impl FnMut(u32) -> u32 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % u64::from(below)) as u32
    }
}

proptest! {
    #[test]
    fn a_document_equals_itself_however_it_is_spelled(tree in trees(), one: u64, other: u64) {
        let first = spell(&tree, &mut choices(one));
        let second = spell(&tree, &mut choices(other));
        let first_document = Document::parse(&first).unwrap();
        let second_document = Document::parse(&second).unwrap();
        prop_assert!(first_document.same_content(&second_document), "{first}\n{second}");
        prop_assert_eq!(first_document.as_str(), first.trim_matches([' ', '\n', '\t', '\r']));
    }

    #[test]
    fn another_content_is_another(tree in trees(), one: u64, other: u64) {
        let first = Document::parse(&spell(&Tree::Array(vec![tree.clone()]), &mut choices(one))).unwrap();
        for changed in [
            Tree::Array(vec![tree.clone(), tree.clone()]),
            Tree::Array(vec![Tree::Array(vec![tree])]),
            Tree::Array(vec![]),
        ] {
            let second = Document::parse(&spell(&changed, &mut choices(other))).unwrap();
            prop_assert!(!first.same_content(&second));
        }
    }

    #[test]
    fn depth_is_what_the_walk_finds(tree in trees(), seed: u64) {
        let text = spell(&tree, &mut choices(seed));
        let depth = depth(text.as_bytes());
        for (levels, fits) in [(depth, true), (depth.wrapping_sub(1), false)] {
            if levels <= depth {
                let mut errors = FieldErrors::default();
                inspect(&text, "", levels, &mut errors);
                prop_assert_eq!(errors.is_empty(), fits);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof!["\\PC{0,60}", "[\\[\\]{}\",:\\\\u0de8+.\\- ]{0,60}"]) {
        let _ = depth(text.as_bytes());
        match Document::parse(&text) {
            Ok(document) => {
                prop_assert!(document.same_content(&document.clone()));
                // What it accepts, serde_json accepts too, up to the range of its floats.
                let read = serde_json::from_str::<serde_json::Value>(&text);
                let is_range = |error: &serde_json::Error| error.to_string().contains("out of range");
                prop_assert!(read.as_ref().err().is_none_or(is_range));
            }
            Err(problem) => prop_assert!(!problem.detail.is_empty()),
        }
        // The walk alone survives texts that are not JSON.
        inspect(&text, "", 8, &mut FieldErrors::default());
    }

    #[test]
    fn a_pointer_finds_what_serde_json_finds(tree in trees(), seed: u64, pointer in "(/[a-z0-9~\\-]{0,2}){0,3}") {
        let text = spell(&tree, &mut choices(seed));
        let document = Document::parse(&text).unwrap();
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            let found = document.get(&pointer).map(|raw| serde_json::from_str(raw.get()).unwrap());
            prop_assert_eq!(found.as_ref(), value.pointer(&pointer));
        }
    }
}

fn problem(text: &str) -> Option<(String, String)> {
    Document::parse(text).err().map(|problem| (problem.pointer, problem.detail))
}

#[test]
fn what_a_database_cannot_keep_is_refused_at_its_place() {
    let cases = [
        (r#"{"a":"x\u0000y"}"#, "/a", "U+0000"),
        (r#"{"a":{"b\u0000":1}}"#, "/a/b\u{fffd}", "U+0000"),
        (r#"{"a":[1,{"b":"\ud800"}]}"#, "/a/1/b", "surrogate"),
        (r#"{"a":"\udc00\ud800"}"#, "/a", "surrogate"),
        (r#"{"\ud800":1}"#, "/", "surrogate"),
        (r#"{"a":[1,1e200000]}"#, "/a/1", "number"),
        (r#"[1e-20000]"#, "/0", "number"),
        (r#"{"a":1,"b":2,"a":3}"#, "/a", "more than once"),
        (r#"{"x":{"a":1,"\u0061":3}}"#, "/x/a", "more than once"),
        (r#"[{},{"a/b":1,"a/b":1}]"#, "/1/a~1b", "more than once"),
        ("", "", "not JSON"),
        ("{} {}", "", "not JSON"),
        ("{'a':1}", "", "not JSON"),
        ("[NaN]", "", "not JSON"),
        ("[01]", "", "not JSON"),
        ("\"\u{0}\"", "", "not JSON"),
        ("\u{feff}{}", "", "not JSON"),
    ];
    for (text, pointer, word) in cases {
        let (found, detail) = problem(text).expect(text);
        assert!(found == pointer && detail.contains(word), "{text}: {found} {detail}");
    }
    for good in
        [r#"{"a":"\ud83d\ude00"}"#, "12345678901234567890.120", "null", " [1e400] ", r#"{"a":{"a":1}}"#]
    {
        assert_eq!(problem(good), None, "{good}");
    }
}

#[test]
fn a_syntax_error_says_where_and_not_what() {
    let (_, detail) = problem("{\n \"secret\": \"hush\" \"more\"}").unwrap();
    assert!(detail.contains("line 2 column 19"), "{detail}");
    assert!(!detail.contains("secret") && !detail.contains("hush"), "{detail}");
}

#[test]
fn nesting_is_bounded_however_deep() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(problem(&nested(MOST_LEVELS)), None);
    for levels in [MOST_LEVELS + 1, 10_000, 1_000_000] {
        let (pointer, detail) = problem(&nested(levels)).unwrap();
        assert_eq!((pointer.as_str(), detail.as_str()), ("", "is nested deeper than 64 levels"));
        assert_eq!(depth(nested(levels).as_bytes()), levels);
    }
    assert_eq!(depth(br#"{"a":"[[[[\"[["}"#), 1);
}

#[test]
fn numbers_are_compared_exactly() {
    let same =
        |one: &str, other: &str| Document::parse(one).unwrap().same_content(&Document::parse(other).unwrap());
    for other in ["2500.00", "2.5e3", "25E+2", "2500.0e0"] {
        assert!(same("2500", other), "{other}");
    }
    assert!(same("-0.0", "0"));
    assert!(same("1e400", "10e399"));
    for other in ["2500.0000000000000000000000000001", "-2500", "\"2500\"", "[false,\"25\",2]", "25001"] {
        assert!(!same("2500", other), "{other}");
    }
}

#[test]
fn a_pointer_reads_the_text_itself() {
    let document =
        Document::parse(r#"{"a":{"b/c":[10,{"~":"x\n"}]},"n":12345678901234567890.120,"":7,"f":42.0}"#)
            .unwrap();
    let get = |pointer| document.get(pointer).map(RawValue::get);
    assert_eq!(get("/n"), Some("12345678901234567890.120"));
    assert_eq!(get("/"), Some("7"));
    assert_eq!(get("/a/b~1c/0"), Some("10"));
    assert_eq!(get(""), Some(document.as_str()));
    for missing in ["a", "/b", "/a/b~1c/2", "/a/b~1c/00", "/a/b~1c/-", "/a/b~1c/+0", "/n/0"] {
        assert_eq!(get(missing), None, "{missing}");
    }
    assert_eq!(document.string("/a/b~1c/1/~0").as_deref(), Some("x\n"));
    assert_eq!(document.integer("/a/b~1c/0"), Some(10));
    for other in ["/f", "/n", "/a", "/nothing"] {
        assert_eq!((document.integer(other), document.string(other)), (None, None), "{other}");
    }
    let most = Document::parse("[9223372036854775807,9223372036854775808,\"1\"]").unwrap();
    assert_eq!([most.integer("/0"), most.integer("/1"), most.integer("/2")], [Some(i64::MAX), None, None]);
}

#[test]
fn debug_does_not_show_the_text() {
    let document = Document::parse(r#"{"name":"Chikondi"}"#).unwrap();
    assert_eq!(format!("{document:?}"), "Document(19 bytes)");
    assert_eq!(serde_json::to_string(&document).unwrap(), document.as_str());
}
