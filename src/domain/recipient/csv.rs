//! Recipients as CSV (RFC 4180).

use super::Recipient;
use super::contact::Field;
use super::parse::{devices_of, positive};
use crate::domain::{FieldError, FieldErrors};

/// A column of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Field(Field),
    Devices,
}

const COLUMNS: &str = "id, name, email, phone, locale, time_zone, devices";

/// The recipients of a CSV file: the line in which each begins, and it or what is wrong with it.
pub struct CsvRecipients<'a> {
    columns: Vec<Column>,
    records: Records<'a>,
}

/// Reads recipients whose columns are named by the first line, in any order: `id` and any of `name`,
/// `email`, `phone`, `locale`, `time_zone`, `devices`. The cell of the last is the JSON array that the
/// field is elsewhere. An empty cell is an absent field. A byte order mark at the beginning is ignored,
/// and so are empty lines.
///
/// # Errors
///
/// A header with an unknown column, one twice, or without `id`.
pub fn parse_recipients_csv(text: &str) -> Result<CsvRecipients<'_>, Vec<FieldError>> {
    let mut records = Records { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut errors = FieldErrors::default();
    let header = match records.next() {
        Some((_, Ok(header))) => header,
        Some((_, Err(problem))) => return Err(vec![FieldError::new("", format!("header: {problem}"))]),
        None => return Err(vec![FieldError::new("", "holds no header")]),
    };
    let mut columns = Vec::with_capacity(header.len());
    for (at, name) in header.iter().enumerate() {
        let name = name.trim();
        let field = Field::ALL.into_iter().find(|field| field.name() == name).map(Column::Field);
        let other = || match name {
            "id" => Some(Column::Id),
            "devices" => Some(Column::Devices),
            _ => None,
        };
        match field.or_else(other) {
            // The name is not shown: without a header it would be the first recipient's data.
            None => errors.push("", format!("header: column {} must be one of {COLUMNS}", at + 1)),
            Some(column) if columns.contains(&column) => {
                errors.push("", format!("header: column {} comes more than once", at + 1));
            }
            Some(column) => columns.push(column),
        }
    }
    if !columns.contains(&Column::Id) {
        errors.push("", "header: the column id is required");
    }
    errors.result(Some(CsvRecipients { columns, records }))
}

impl Iterator for CsvRecipients<'_> {
    type Item = (usize, Result<Recipient, Vec<FieldError>>);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, cells) = self.records.next()?;
        Some((
            line,
            cells.map_err(|problem| vec![FieldError::new("", problem)]).and_then(|cells| self.read(cells)),
        ))
    }
}

impl CsvRecipients<'_> {
    fn read(&self, cells: Vec<String>) -> Result<Recipient, Vec<FieldError>> {
        if cells.len() != self.columns.len() {
            let detail = format!("has {} cells, and the header has {}", cells.len(), self.columns.len());
            return Err(vec![FieldError::new("", detail)]);
        }
        let mut errors = FieldErrors::default();
        let mut recipient = Recipient::new(0);
        for (column, cell) in self.columns.iter().zip(cells) {
            match column {
                Column::Id => {
                    let digits = cell.bytes().all(|byte| byte.is_ascii_digit());
                    let id = positive(cell.parse().ok().filter(|_| digits), &mut errors);
                    recipient.id = id.unwrap_or_default();
                }
                Column::Field(_) | Column::Devices if cell.is_empty() => {}
                Column::Devices => recipient.devices = devices_of(&cell, &mut errors),
                Column::Field(field) => {
                    if let Err(problem) = field.set(&mut recipient, cell) {
                        errors.push(format!("/{}", field.name()), problem);
                    }
                }
            }
        }
        errors.result(Some(recipient))
    }
}

/// The records of a text, each with the line in which it begins.
struct Records<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for Records<'_> {
    type Item = (usize, Result<Vec<String>, &'static str>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix('\n').or_else(|| self.rest.strip_prefix("\r\n")) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            match self.cell() {
                Ok(cell) => cells.push(cell),
                Err(problem) => {
                    // Go on with the next line: one broken record does not hide the others.
                    let (_, rest) = self.rest.split_once('\n').unwrap_or_default();
                    self.rest = rest;
                    self.line += 1;
                    return Some((line, Err(problem)));
                }
            }
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            self.rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
            self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
            self.line += 1;
            return Some((line, Ok(cells)));
        }
    }
}

impl Records<'_> {
    /// Takes one cell, up to the comma or the end of the line behind it.
    fn cell(&mut self) -> Result<String, &'static str> {
        let Some(mut quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (cell, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
            // The carriage return of the line's end is not the cell's; one elsewhere stays.
            let cell = if rest.starts_with(',') { cell } else { cell.strip_suffix('\r').unwrap_or(cell) };
            if cell.contains('"') {
                return Err("has a quote in a cell that does not begin with one");
            }
            self.rest = rest;
            return Ok(cell.to_owned());
        };
        let mut cell = String::new();
        loop {
            let Some((part, rest)) = quoted.split_once('"') else {
                return Err("has a quote that is never closed");
            };
            cell.push_str(part);
            match rest.strip_prefix('"') {
                Some(rest) => {
                    cell.push('"');
                    quoted = rest;
                }
                None if rest.is_empty() || rest.starts_with([',', '\n']) || rest.starts_with("\r\n") => {
                    self.rest = rest;
                    self.line += cell.matches('\n').count();
                    return Ok(cell);
                }
                None => return Err("has a character between a closing quote and the comma behind it"),
            }
        }
    }
}
