//! A statement that the two dialects spell differently.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Double, HasSqlType, Nullable, Text};
use diesel::sqlite::Sqlite;

/// One statement in two spellings, with the same binds and the same row.
///
/// Each `?` in a text stands for the next bind. A set of rows is bound as one JSON array, so the
/// text never changes with the number of rows and is prepared once for each connection: diesel
/// caches by text, except for `sql_query`, `UPDATE` and inserts of a `Vec`, which it prepares anew
/// at each call.
#[derive(Debug, Clone)]
pub(super) struct Statement<Row = ()> {
    postgres: Cow<'static, str>,
    sqlite: Cow<'static, str>,
    binds: Vec<Bind>,
    row: PhantomData<Row>,
}

/// A value for a `?`.
#[derive(Debug, Clone)]
pub(super) enum Bind {
    /// `TEXT`, also for a JSON array of rows.
    Text(String),
    /// `TEXT` or NULL.
    OptText(Option<String>),
    /// `BIGINT`.
    BigInt(i64),
    /// `BIGINT` or NULL.
    OptBigInt(Option<i64>),
    /// `DOUBLE PRECISION`, for seconds.
    Double(f64),
}

impl<Row> Statement<Row> {
    /// A statement of two texts with the same number of `?`.
    pub(super) fn new(
        postgres: impl Into<Cow<'static, str>>,
        sqlite: impl Into<Cow<'static, str>>,
        binds: Vec<Bind>,
    ) -> Self {
        Self { postgres: postgres.into(), sqlite: sqlite.into(), binds, row: PhantomData }
    }

    /// A statement that both dialects spell the same.
    pub(super) fn same(text: impl Into<Cow<'static, str>>, binds: Vec<Bind>) -> Self {
        let text = text.into();
        Self { postgres: text.clone(), sqlite: text, binds, row: PhantomData }
    }

    fn walk<'b, DB>(&'b self, text: &str, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<Text> + HasSqlType<BigInt> + HasSqlType<Double>,
        String: ToSql<Text, DB>,
        i64: ToSql<BigInt, DB>,
        Option<String>: ToSql<Nullable<Text>, DB>,
        Option<i64>: ToSql<Nullable<BigInt>, DB>,
        f64: ToSql<Double, DB>,
    {
        let mut binds = self.binds.iter();
        for (index, part) in text.split('?').enumerate() {
            if index > 0 {
                match binds.next() {
                    Some(Bind::Text(value)) => out.push_bind_param::<Text, _>(value)?,
                    Some(Bind::OptText(value)) => out.push_bind_param::<Nullable<Text>, _>(value)?,
                    Some(Bind::OptBigInt(value)) => out.push_bind_param::<Nullable<BigInt>, _>(value)?,
                    Some(Bind::BigInt(value)) => out.push_bind_param::<BigInt, _>(value)?,
                    Some(Bind::Double(value)) => out.push_bind_param::<Double, _>(value)?,
                    None => {
                        return Err(diesel::result::Error::QueryBuilderError("a bind is missing".into()));
                    }
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<Row> QueryFragment<Pg> for Statement<Row> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.walk(&self.postgres, out)
    }
}

impl<Row> QueryFragment<Sqlite> for Statement<Row> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.walk(&self.sqlite, out)
    }
}

/// No static id: the text is the key in the cache of prepared statements.
impl<Row> QueryId for Statement<Row> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Row> Query for Statement<Row> {
    type SqlType = Row;
}

impl<Row, Conn> diesel::RunQueryDsl<Conn> for Statement<Row> {}
