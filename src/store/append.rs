//! Storing events: many publishers in one transaction, each answered for itself.

use std::collections::{HashMap, HashSet};

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::event::Content;
use crate::domain::{Document, Instant, NewEvent};

/// What became of one event of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Committed now, at this place in the order of storing.
    Stored(i64),
    /// Committed before, with the same content.
    Duplicate,
}

/// The group was refused whole: an event with this id exists, with other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The event's index in its group.
    pub index: usize,
    /// Its id.
    pub id: String,
}

/// What a group is answered.
pub(super) type GroupAnswer = Result<Vec<Appended>, Conflict>;

/// An event as the insert binds it.
#[derive(Serialize)]
pub(super) struct EventRow<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) aggregate_id: &'a str,
    pub(super) aggregate_type: &'a str,
    pub(super) payload: &'a Document,
    pub(super) metadata: &'a Document,
    pub(super) timestamp: Option<Instant>,
}

impl<'a> From<&'a NewEvent> for EventRow<'a> {
    fn from(event: &'a NewEvent) -> Self {
        Self {
            id: &event.id,
            kind: &event.kind,
            aggregate_id: &event.aggregate_id,
            aggregate_type: &event.aggregate_type,
            payload: &event.payload,
            metadata: &event.metadata,
            timestamp: event.timestamp,
        }
    }
}

/// Inserts events in the order of the array; the row is that of an event that was new.
fn insert(rows: Bind) -> Statement<(Text, BigInt)> {
    Statement::new(
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
         SELECT id, type, aggregate_id, aggregate_type, payload, metadata, COALESCE(timestamp, statement_timestamp())
         FROM ROWS FROM (json_to_recordset(?::json) AS (id text, type text, aggregate_id text,
              aggregate_type text, payload jsonb, metadata jsonb, timestamp timestamptz))
              WITH ORDINALITY
         ORDER BY ordinality
         ON CONFLICT (id) DO NOTHING RETURNING id, position",
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
         SELECT value->>'id', value->>'type', value->>'aggregate_id', value->>'aggregate_type',
                value->'payload', value->'metadata',
                COALESCE(value->>'timestamp', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
         FROM json_each(?) WHERE TRUE ORDER BY key
         ON CONFLICT (id) DO NOTHING RETURNING id, position",
        vec![rows],
    )
}

type ExistingSql = (Text, Text, Text, Text, Text, Nullable<Text>, Moment);
type ExistingRow = (String, String, String, String, String, Option<String>, Instant);

fn existing(ids: Bind) -> Statement<ExistingSql> {
    Statement::new(
        "SELECT id, type, aggregate_id, aggregate_type, payload::text, metadata::text, timestamp
         FROM domain_events WHERE id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "SELECT id, type, aggregate_id, aggregate_type, payload, metadata, timestamp
         FROM domain_events WHERE id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

impl Store {
    /// Stores groups of events, each group all or nothing, and says of each what became of it.
    /// `Ok` means: committed.
    ///
    /// # Errors
    ///
    /// None may have been stored, or all: with [`StoreError::is_transient`], store them again, and
    /// those that were stored answer as duplicates.
    pub async fn append(&self, groups: Vec<Vec<NewEvent>>) -> Result<Vec<GroupAnswer>, StoreError> {
        let mut answers: Vec<Option<GroupAnswer>> = vec![None; groups.len()];
        let groups = std::sync::Arc::new(groups);
        // A single event is all or nothing by itself, so singles need no transaction around the two
        // statements. Each round of the loop takes out at least one group that conflicts.
        let singles = groups.iter().all(|group| group.len() == 1);
        loop {
            let open: Vec<usize> = (0..groups.len()).filter(|index| answers[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let round = self.append_round(std::sync::Arc::clone(&groups), open, singles).await?;
            for (index, answer) in round {
                answers[index] = Some(answer);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Tries the groups of these indexes together. Where groups conflict and others could not be
    /// committed because of them, only those that conflict are answered.
    async fn append_round(
        &self,
        groups: std::sync::Arc<Vec<Vec<NewEvent>>>,
        open: Vec<usize>,
        singles: bool,
    ) -> Result<Vec<(usize, GroupAnswer)>, StoreError> {
        // The first of each id is inserted; the others are compared with it.
        let mut first: HashMap<&str, &NewEvent> = HashMap::new();
        let mut unique: Vec<EventRow<'_>> = Vec::new();
        for event in open.iter().flat_map(|index| &groups[*index]) {
            first.entry(&event.id).or_insert_with(|| {
                unique.push(event.into());
                event
            });
        }
        let bind = rows(&unique)?;
        let count = unique.len();
        if singles {
            let inserted: HashMap<String, i64> = self.write(insert(bind)).await?.into_iter().collect();
            let before = match missing(&unique, &inserted) {
                ids if ids.is_empty() => Vec::new(),
                ids => self.read(existing(rows(&ids)?)).await?,
            };
            drop(unique);
            drop(first);
            return judge(&groups, &open, &inserted, before);
        }
        drop(unique);
        drop(first);
        transaction!(self, |conn| {
            let inserted: Vec<(String, i64)> = insert(bind).load(conn).await?;
            let inserted: HashMap<String, i64> = inserted.into_iter().collect();
            let mut before: Vec<ExistingRow> = Vec::new();
            if inserted.len() < count {
                let ids: HashSet<&str> = open
                    .iter()
                    .flat_map(|index| &groups[*index])
                    .map(|event| event.id.as_str())
                    .filter(|id| !inserted.contains_key(*id))
                    .collect();
                before = existing(rows(&ids)?).load(conn).await?;
            }
            let answers = judge(&groups, &open, &inserted, before)?;
            if answers.iter().any(|(_, answer)| answer.is_err()) {
                // Committing the rest would commit what the refused groups inserted.
                return Err(StoreError::Conflicts(
                    answers.into_iter().filter_map(|(index, answer)| Some((index, answer.err()?))).collect(),
                ));
            }
            Ok(answers)
        })
        .or_else(|error| match error {
            StoreError::Conflicts(conflicts) => {
                Ok(conflicts.into_iter().map(|(index, conflict)| (index, Err(conflict))).collect())
            }
            error => Err(error),
        })
    }
}

fn missing<'a>(unique: &[EventRow<'a>], inserted: &HashMap<String, i64>) -> Vec<&'a str> {
    unique.iter().map(|row| row.id).filter(|id| !inserted.contains_key(*id)).collect()
}

/// Says of each group what became of it, given what was inserted and what was there before.
fn judge(
    groups: &[Vec<NewEvent>],
    open: &[usize],
    inserted: &HashMap<String, i64>,
    before: Vec<ExistingRow>,
) -> Result<Vec<(usize, GroupAnswer)>, StoreError> {
    let before: HashMap<String, ExistingRow> = before.into_iter().map(|row| (row.0.clone(), row)).collect();
    // What the groups say that are not refused: one that is refused leaves nothing to compare with.
    let mut told: HashMap<&str, &NewEvent> = HashMap::new();
    let mut answers = Vec::with_capacity(open.len());
    for &group in open {
        let mut own: HashMap<&str, &NewEvent> = HashMap::new();
        let mut answer = Ok(Vec::with_capacity(groups[group].len()));
        for (index, event) in groups[group].iter().enumerate() {
            let earlier = own.get(event.id.as_str()).or_else(|| told.get(event.id.as_str()));
            let one = match (earlier, inserted.get(&event.id), before.get(&event.id)) {
                (Some(first), ..) => event.same_content(first.content()).then_some(Appended::Duplicate),
                (None, Some(position), _) => Some(Appended::Stored(*position)),
                (None, None, Some(row)) => same_as_row(event, row).then_some(Appended::Duplicate),
                // It was there at the insert and is gone at the look: retention took it.
                (None, None, None) => return Err(StoreError::no_row()),
            };
            own.entry(&event.id).or_insert(event);
            match (one, &mut answer) {
                (Some(one), Ok(all)) => all.push(one),
                (None, Ok(_)) => answer = Err(Conflict { index, id: event.id.clone() }),
                (_, Err(_)) => {}
            }
        }
        if answer.is_ok() {
            for (id, event) in own {
                told.entry(id).or_insert(event);
            }
        }
        answers.push((group, answer));
    }
    Ok(answers)
}

/// Whether an event is what was stored. A stored document was checked when it came in, or is a foreign
/// row's: then it need not be valid, and is something else.
fn same_as_row(event: &NewEvent, row: &ExistingRow) -> bool {
    let (_, kind, aggregate_id, aggregate_type, payload, metadata, timestamp) = row;
    let document = |text: &String| Document::stored(text.clone()).ok();
    let (Some(payload), Some(metadata)) = (document(payload), metadata.as_ref().and_then(document)) else {
        return false;
    };
    event.same_content(Content {
        kind,
        aggregate_id,
        aggregate_type,
        payload: &payload,
        metadata: &metadata,
        timestamp: Some(*timestamp),
    })
}
