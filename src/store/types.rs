//! Moments in the databases: `TIMESTAMPTZ` in PostgreSQL, fixed-width RFC 3339 text in SQLite.

use chrono::{DateTime, Utc};
use diesel::Queryable;
use diesel::deserialize::{self, FromSql, FromStaticSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::QueryId;
use diesel::sql_types::{SqlType, Text, Timestamptz};
use diesel::sqlite::{Sqlite, SqliteValue};

use crate::domain::Instant;

/// The SQL type of a moment's column.
#[derive(Debug, Clone, Copy, Default, QueryId, SqlType)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Text"))]
pub(super) struct Moment;

impl FromSql<Moment, Pg> for Instant {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <DateTime<Utc> as FromSql<Timestamptz, Pg>>::from_sql(value).map(Self::from)
    }
}

impl FromSql<Moment, Sqlite> for Instant {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(Self::parse(&text)?)
    }
}

impl<ST, DB> Queryable<ST, DB> for Instant
where
    DB: diesel::backend::Backend,
    Self: FromStaticSqlRow<ST, DB>,
{
    type Row = Self;

    fn build(row: Self) -> deserialize::Result<Self> {
        Ok(row)
    }
}
