#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split_whitespace())
}

#[test]
fn the_definition_holds_together() {
    Line::command().debug_assert();
}

#[test]
fn serve_is_the_default() {
    for (line, hold) in [
        ("herald", false),
        ("herald serve", false),
        ("herald --hold", true),
        ("herald serve --hold", true),
        ("herald --config x.toml serve --hold", true),
        ("herald serve --hold --config x.toml", true),
    ] {
        let cli = read(line).unwrap();
        assert!(matches!(cli.command, Command::Serve(ServeArgs { hold: found }) if found == hold), "{line}");
        assert_eq!(cli.config.is_some(), line.contains("x.toml"), "{line}");
    }
}

#[test]
fn commands_with_their_arguments() {
    let Command::Demo(demo) = read("herald demo").unwrap().command else { panic!() };
    assert_eq!((demo.rate, demo.users), (5.0, 50));
    let Command::Demo(demo) = read("herald demo --rate 0.5 --users 7").unwrap().command else { panic!() };
    assert_eq!((demo.rate, demo.users), (0.5, 7));
    let Command::Publish(publish) = read("herald publish - --token t --json").unwrap().command else {
        panic!()
    };
    assert_eq!(publish.input, Input::Stdin);
    assert_eq!(publish.remote.url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(publish.remote.token().unwrap().unwrap().expose(), "t");
    let Command::Users(UsersCommand::Import(import)) =
        read("herald users import u.csv --url https://h.example").unwrap().command
    else {
        panic!()
    };
    assert_eq!(import.input, Input::File("u.csv".into()));
    let Command::Token(TokenCommand::Create { scopes, expires, .. }) =
        read("herald token create --name n --scope read,operate --scope admin --expires 90d")
            .unwrap()
            .command
    else {
        panic!()
    };
    assert_eq!(scopes, ["read", "operate", "admin"]);
    assert_eq!(expires, Some(Duration::from_secs(90 * 86_400)));
    assert!(
        matches!(read("herald token revoke 7").unwrap().command, Command::Token(TokenCommand::Revoke { id }) if id == "7")
    );
    let hyphen = read("herald token revoke -8aX").unwrap().command;
    assert!(matches!(hyphen, Command::Token(TokenCommand::Revoke { id }) if id == "-8aX"));
    assert!(matches!(
        read("herald migrate --check").unwrap().command,
        Command::Migrate(MigrateArgs { check: true })
    ));
    assert!(matches!(read("herald check").unwrap().command, Command::Check));
    let Command::Replay(replay) =
        read("herald replay --type a.b --type c.d --send --reason outage").unwrap().command
    else {
        panic!()
    };
    assert_eq!((replay.types.as_slice(), replay.send), (&["a.b".to_owned(), "c.d".to_owned()][..], true));
    assert_eq!(replay.reason.as_deref(), Some("outage"));
    let reconcile = read("herald reconcile --json").unwrap();
    assert!(matches!(reconcile.command, Command::Reconcile) && reconcile.json);
}

#[test]
fn bad_usage_exits_with_2() {
    for line in [
        "herald unknown",
        "herald --unknown",
        "herald --hold check",
        "herald publish",
        "herald demo --rate 0",
        "herald demo --users 0",
        "herald demo --rate NaN",
        "herald token",
        "herald token create --name n",
        "herald token create --name n --scope all",
        "herald token create --name n --scope read --expires never",
        "herald token create --name n --scope read --expires 0d",
        "herald publish x --url mailto:x",
        "herald replay --send",
        "herald replay e-1",
    ] {
        assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
    }
    assert_eq!(read("herald --help").unwrap_err().exit_code(), 0);
    assert_eq!(read("herald --version").unwrap_err().exit_code(), 0);
}

#[test]
fn a_token_is_not_shown_and_can_stand_in_a_file() {
    let cli = read("herald publish x --token s3cret").unwrap();
    assert!(!format!("{cli:?}").contains("s3cret"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "s3cret\n").unwrap();
    let mut remote = Remote {
        url: Url::parse("http://h").unwrap(),
        token: None,
        token_file: Some(file.path().to_owned()),
    };
    assert_eq!(remote.token().unwrap().unwrap().expose(), "s3cret");
    remote.token_file = Some("/does/not/exist".into());
    assert!(
        remote
            .token()
            .unwrap_err()
            .to_string()
            .starts_with("the token's file /does/not/exist cannot be read")
    );
    remote.token_file = None;
    assert_eq!(remote.token().unwrap(), None);
}
