//! `herald token`: acts on the database itself, since the first token must come from somewhere.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{CommandError, TokenCommand, open, say};
use crate::config::Config;
use crate::domain::{Scopes, Token};

/// Creates, lists or revokes tokens.
pub(super) async fn tokens(config: &Config, command: &TokenCommand, json: bool) -> Result<(), CommandError> {
    let store = open(config).await?;
    match command {
        TokenCommand::Create { name, scopes, expires } => {
            let scopes: Scopes =
                scopes.join(",").parse().map_err(|error| CommandError::Usage(format!("--scope: {error}")))?;
            let token = new_token()?;
            store
                .create_token(token.id(), name, token.hash().as_str(), &scopes.to_string(), *expires)
                .await?;
            if json {
                let shown = json!({
                    "id": token.id(), "name": name, "scopes": scopes.iter().collect::<Vec<_>>(), "token": token.reveal(),
                });
                say(&shown.to_string())
            } else {
                // Alone on its line, so that a shell can take it.
                say(token.reveal())
            }
        }
        TokenCommand::List => {
            let found = store.tokens().await?;
            if json {
                return say(&json!({ "items": found }).to_string());
            }
            for token in found {
                let state = match (token.revoked_at, token.expires_at) {
                    (Some(at), _) => format!("revoked {}", at.to_rfc3339()),
                    (None, Some(at)) => format!("until {}", at.to_rfc3339()),
                    (None, None) => "for ever".to_owned(),
                };
                say(&format!("{}  {}  {}  {state}", token.id, token.name, token.scopes))?;
            }
            Ok(())
        }
        TokenCommand::Revoke { id } => {
            if store.revoke_token(id).await? {
                say(&if json { json!({ "revoked": id }).to_string() } else { format!("revoked {id}") })
            } else {
                Err(CommandError::Failed(format!(
                    "no token that is good has the id {id}; see `herald token list`"
                )))
            }
        }
    }
}

fn new_token() -> Result<Token, CommandError> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; 16], [0; 32]);
    random
        .fill(&mut id)
        .and_then(|()| random.fill(&mut secret))
        .map_err(|_| CommandError::Failed("the system gives no random numbers".to_owned()))?;
    Ok(Token::new(id, secret))
}
