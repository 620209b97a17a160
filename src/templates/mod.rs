//! Messages from templates: what a recipient reads, on each channel, in their language.
//!
//! There are two kinds. The built-in ones see only what `facts` made of the event, and render
//! whatever a payload holds. The bank's own see the event as it is, strictly: what is missing is an
//! error. Both are parsed once, at load; rendering does no IO. `docs/events.md` tells what each event
//! type holds, and how a bank writes its own.

mod builtin;
mod cost;
mod currency;
mod decimal;
mod error;
mod facts;
mod filters;
mod format;
mod locale;
mod own;
mod part;
mod payload;
mod sms;
mod text;
mod variables;

use std::collections::HashMap;
use std::path::Path;

use minijinja::{Environment, UndefinedBehavior, Value};
use sha2::{Digest, Sha256};

use crate::domain::{Channel, Content};
use facts::Facts;
use format::Format;
use part::Part;

pub use cost::SmsCost;
pub use error::{Fault, TemplateError, TemplateLoadError, TemplateProblem};
pub use sms::{is_gsm7, segments};
pub use variables::Variables;

/// All templates, parsed.
pub struct Templates {
    own: Environment<'static>,
    /// The hash of the source of each of the bank's own files, by its key.
    own_hashes: HashMap<String, Hash>,
    built_in: Environment<'static>,
    built_in_hashes: HashMap<String, Hash>,
    /// Of what the built-in ones extend and import.
    shared_hash: Hash,
}

type Hash = [u8; 32];

/// A message, and what it was made from. It is personal data: never logged.
pub struct Rendered {
    /// The message.
    pub content: Content,
    /// The first 16 hexadecimal digits of a SHA-256 over the sources of the templates that were used:
    /// the same version and the same variables give the same message.
    pub version: String,
}

/// How long the parts of a message may get; what is longer is cut, and the cut is marked.
struct Limits {
    /// Characters of a push message's title.
    title: usize,
    /// Characters of a push message's text.
    body: usize,
    /// Segments of a text message: three are 459 characters of the GSM alphabet.
    segments: u16,
}

const BUILT_IN_LIMITS: Limits = Limits { title: 65, body: 240, segments: 3 };

/// A bank knows its phones and its gateway; but a push message has to fit FCM's 4096 bytes, and no
/// gateway joins more than ten segments.
const OWN_LIMITS: Limits = Limits { title: 200, body: 800, segments: 10 };

/// Characters of a mail's subject, which is one line.
const SUBJECT_LIMIT: usize = 150;

/// The template of one part: where it is, and in which language it is.
struct Found<'a> {
    environment: &'a Environment<'static>,
    hash: &'a Hash,
    key: String,
    locale: String,
    is_own: bool,
}

impl Templates {
    /// Reads and parses the bank's own templates from `dir`, beside those that are built in.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of the files, with file and line.
    pub fn load(dir: Option<&Path>) -> Result<Self, TemplateLoadError> {
        let mut templates = Self::built_in();
        if let Some(dir) = dir {
            let mut problems = Vec::new();
            let files = own::read(dir, &mut problems);
            own::parse(&files, &mut templates.own, problems)?;
            for file in files {
                templates.own_hashes.insert(key(&file.name, &file.locale, file.part), hash(&file.source));
            }
        }
        Ok(templates)
    }

    /// Those that are built in, alone.
    pub fn built_in() -> Self {
        let mut built_in = filters::environment(UndefinedBehavior::SemiStrict);
        let mut own = filters::environment(UndefinedBehavior::Strict);
        let mut shared = Sha256::new();
        for &(name, source) in builtin::SHARED {
            add_built_in(&mut built_in, name.to_owned(), source);
            shared.update(hash(source));
            if name == builtin::LAYOUT {
                add_built_in(&mut own, name.to_owned(), source);
            }
        }
        let mut built_in_hashes = HashMap::new();
        for template in builtin::TEMPLATES {
            for (part, source) in template.parts() {
                let key = key(template.name, template.language, part);
                add_built_in(&mut built_in, key.clone(), source);
                built_in_hashes.insert(key, hash(source));
            }
        }
        Self {
            own,
            own_hashes: HashMap::new(),
            built_in,
            built_in_hashes,
            shared_hash: shared.finalize().into(),
        }
    }

    /// Makes the message.
    ///
    /// `template` is a template's name: the event's type, or the route's `template`. Each part is
    /// looked for by itself: the bank's own for the recipient's locale, then for ever shorter tags of
    /// it, then the bank's `default`, then its `en`; then the built-in one of that name in the
    /// recipient's language, then in English; then a built-in message that fits every event. What tells
    /// several messages in one is made from the bank's own `<template>.digest`, else from `digest`.
    ///
    /// # Errors
    ///
    /// What the template asks for and the event does not have, and whatever else is wrong with them;
    /// permanent for this template and event.
    pub fn render(
        &self,
        template: &str,
        channel: Channel,
        variables: &Variables,
    ) -> Result<Rendered, TemplateError> {
        let digest = variables.digest.as_ref().map(|_| self.digest_of(template));
        let name = digest.as_deref().unwrap_or(template);
        let mut message = Message {
            templates: self,
            name,
            channel,
            variables,
            format: Format::new(variables.locale.as_deref(), variables.time_zone.as_deref(), channel),
            chain: locale::chain(variables.locale.as_deref()),
            facts: None,
            version: Sha256::new(),
        };
        let content = filters::with_format(message.format, || message.content())?;
        let digest = message.version.finalize();
        let version = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Rendered { content, version })
    }

    /// Whether there is a template of that name, built in or the bank's own. Another name renders the
    /// message that fits every event.
    pub fn known(&self, template: &str) -> bool {
        builtin::NAMES.contains(&template)
            || self
                .own_hashes
                .keys()
                .any(|key| key.strip_prefix(template).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The names of the built-in templates.
    pub fn built_in_names() -> &'static [&'static str] {
        builtin::NAMES
    }

    fn find(&self, name: &str, chain: &[String], part: Part) -> Option<Found<'_>> {
        let own = chain.iter().map(String::as_str).chain([own::DEFAULT, locale::FALLBACK]);
        let own = own.map(|locale| (name, locale, true));
        let language = chain.iter().map(String::as_str).find(|tag| builtin::LANGUAGES.contains(tag));
        let languages = [language.unwrap_or(locale::FALLBACK), locale::FALLBACK];
        let built_in =
            [name, builtin::GENERIC].into_iter().flat_map(|name| languages.map(|l| (name, l, false)));
        own.chain(built_in).find_map(|(name, locale, is_own)| {
            let (environment, hashes) = match is_own {
                true => (&self.own, &self.own_hashes),
                false => (&self.built_in, &self.built_in_hashes),
            };
            let key = key(name, locale, part);
            let hash = hashes.get(&key)?;
            Some(Found { environment, hash, key, locale: locale.to_owned(), is_own })
        })
    }
}

/// The built-in templates are part of the program, and a test renders each of them; one that does not
/// parse is missing, and found missing there.
fn add_built_in(environment: &mut Environment<'static>, key: String, source: &'static str) {
    let added = environment.add_template_owned(key, source);
    debug_assert!(added.is_ok(), "{added:?}");
}

fn key(name: &str, locale: &str, part: Part) -> String {
    format!("{name}/{locale}/{}", part.file())
}

fn hash(source: &str) -> Hash {
    Sha256::digest(source).into()
}

/// One message while it is made.
struct Message<'a> {
    templates: &'a Templates,
    name: &'a str,
    channel: Channel,
    variables: &'a Variables,
    format: Format,
    chain: Vec<String>,
    facts: Option<Facts>,
    version: Sha256,
}

impl Message<'_> {
    fn content(&mut self) -> Result<Content, TemplateError> {
        Ok(match self.channel {
            Channel::Email => Content::Email {
                subject: self.part(Part::EmailSubject)?,
                text: self.part(Part::EmailText)?,
                html: self.part(Part::EmailHtml)?,
            },
            Channel::Push => {
                Content::Push { title: self.part(Part::PushTitle)?, body: self.part(Part::PushBody)? }
            }
            Channel::Sms => {
                let text = self.part(Part::SmsText)?;
                Content::Sms { segments: segments(&text), text }
            }
        })
    }

    fn part(&mut self, part: Part) -> Result<String, TemplateError> {
        let Some(found) = self.templates.find(self.name, &self.chain, part) else {
            let missing = Fault::Engine("it is missing, and nothing stands in for it".to_owned());
            return Err(self.error(part, locale::FALLBACK, missing, 0));
        };
        self.made_from(part, &found)
    }

    fn made_from(&mut self, part: Part, found: &Found<'_>) -> Result<String, TemplateError> {
        self.version.update(found.hash);
        if part == Part::EmailHtml || !found.is_own {
            self.version.update(self.templates.shared_hash);
        }
        let context = self.context(found).map_err(|fault| self.error(part, &found.locale, fault, 0))?;
        let rendered =
            found.environment.get_template(&found.key).and_then(|template| template.render(context));
        let text = rendered.map_err(|error| {
            let (fault, line) = Fault::of(&error);
            self.error(part, &found.locale, fault, line)
        })?;
        let text = fit(part, &text, if found.is_own { &OWN_LIMITS } else { &BUILT_IN_LIMITS });
        match text.is_empty() {
            true => Err(self.error(part, &found.locale, Fault::Empty, 0)),
            false => Ok(text),
        }
    }

    fn context(&mut self, found: &Found<'_>) -> Result<Value, Fault> {
        let language = match (found.is_own && found.locale == own::DEFAULT, self.chain.first()) {
            (true, Some(tag)) => tag,
            (true, None) => locale::FALLBACK,
            (false, _) => &found.locale,
        };
        if found.is_own {
            return self.variables.context(language).map_err(|_| Fault::Payload);
        }
        if self.facts.is_none() {
            let facts = Facts::of(self.variables, self.channel, self.format).map_err(|_| Fault::Payload)?;
            self.facts = Some(facts);
        }
        self.facts.as_ref().map(|facts| facts.context(language)).ok_or(Fault::Payload)
    }

    fn error(&self, part: Part, locale: &str, fault: Fault, line: usize) -> TemplateError {
        TemplateError {
            template: self.name.to_owned(),
            channel: part.channel(),
            file: part.file(),
            locale: locale.to_owned(),
            line,
            fault,
        }
    }
}

/// Brings a rendered part into the form that its place asks for.
fn fit(part: Part, rendered: &str, limits: &Limits) -> String {
    match part {
        Part::EmailSubject => text::shorten(&text::one_line(rendered), SUBJECT_LIMIT, "…"),
        Part::EmailText => text::lines(rendered),
        Part::EmailHtml => rendered.trim().to_owned(),
        Part::PushTitle => text::shorten(&text::one_line(rendered), limits.title, "…"),
        Part::PushBody => text::shorten(&text::lines(rendered), limits.body, "…"),
        Part::SmsText => sms::shorten(&sms::plain(&text::lines(rendered)), limits.segments),
    }
}
