//! `spin:sqlite/sqlite` of version 3. Since 3.1 it has asynchronous functions beside the
//! others.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Linker, LinkerInstance, Resource, StreamProducer,
    StreamReader, StreamResult, VecBuffer,
};

use super::spin_v2::add_connection;
use super::{Fault, Handle, QueryResult, Row, SqlValue, find, open, size, too_much};
use crate::held::Lent;
use crate::state::State;

/// It satisfies imports of 3.0 as well.
const INTERFACE: &str = "spin:sqlite/sqlite@3.1.0";

/// How many rows are passed to the guest at a time.
const ROWS_AT_ONCE: usize = 64;

pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    let mut databases = linker.instance(INTERFACE)?;
    add_connection(&mut databases, INTERFACE)?;
    databases.func_wrap_async(
        "[method]connection.last-insert-rowid",
        |cx: StoreContextMut<'_, State>, (this,): (Resource<Handle>,)| {
            Box::new(async move {
                let connection = find(cx.data(), &this)?;
                // The function cannot report an error.
                let id = connection.of(connection.connection.last_insert_rowid());
                Ok((id.await.unwrap_or_default(),))
            })
        },
    )?;
    databases.func_wrap_async(
        "[method]connection.changes",
        |cx: StoreContextMut<'_, State>, (this,): (Resource<Handle>,)| {
            Box::new(async move {
                let connection = find(cx.data(), &this)?;
                let changes = connection.of(connection.connection.changes());
                Ok((changes.await.unwrap_or_default(),))
            })
        },
    )?;
    if concurrency {
        add_async(&mut databases)?;
    }
    Ok(())
}

fn add_async(databases: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    databases.func_wrap_concurrent(
        "[static]connection.open-async",
        |accessor, (label,): (String,)| {
            let opened = accessor.with(|mut access| open(access.get(), INTERFACE, &label));
            Box::pin(async move { Ok((opened,)) })
        },
    )?;
    databases.func_wrap_concurrent(
        "[method]connection.execute-async",
        |accessor, (this, statement, parameters)| {
            Box::pin(async move {
                let rows = match execute(accessor, this, statement, parameters).await? {
                    Ok(found) => found,
                    Err(fault) => return Ok((Err(fault),)),
                };
                accessor.with(|mut access| {
                    let (columns, rows) = rows;
                    let rows = StreamReader::new(&mut access, rows)?;
                    // All rows are there already.
                    let done = async { wasmtime::Result::<Result<(), Fault>>::Ok(Ok(())) };
                    let done = FutureReader::new(&mut access, Box::pin(done))?;
                    Ok((Ok((columns, rows, done)),))
                })
            })
        },
    )?;
    databases.func_wrap_concurrent(
        "[method]connection.last-insert-rowid-async",
        |accessor, (this,)| {
            Box::pin(async move {
                let connection = of(accessor, &this)?;
                let id = connection.of(connection.connection.last_insert_rowid());
                Ok((id.await.unwrap_or_default(),))
            })
        },
    )?;
    databases.func_wrap_concurrent("[method]connection.changes-async", |accessor, (this,)| {
        Box::pin(async move {
            let connection = of(accessor, &this)?;
            let changes = connection.of(connection.connection.changes());
            Ok((changes.await.unwrap_or_default(),))
        })
    })
}

fn of(accessor: &Accessor<State>, this: &Resource<Handle>) -> wasmtime::Result<Handle> {
    Ok(accessor.with(|mut access| find(access.get(), this))?)
}

/// The columns and rows that a statement has found.
async fn execute(
    accessor: &Accessor<State>,
    this: Resource<Handle>,
    statement: String,
    parameters: Vec<SqlValue>,
) -> wasmtime::Result<Result<(Vec<String>, Rows), Fault>> {
    let connection = of(accessor, &this)?;
    let lend = |bytes| accessor.with(|mut access| access.get().lend(bytes).map_err(too_much));
    let _lent = match lend(size(&statement, &parameters)) {
        Ok(lent) => lent,
        Err(fault) => return Ok(Err(fault)),
    };
    let answer = connection.connection.execute(statement, parameters);
    let result = match connection.of(answer).await {
        Ok(result) => result,
        Err(fault) => return Ok(Err(fault)),
    };
    Ok(lend(result.size()).map(|lent| {
        let QueryResult { columns, rows } = result;
        let rows = Rows {
            rows: rows.into_iter(),
            _lent: lent,
        };
        (columns, rows)
    }))
}

/// Rows on their way to the guest.
struct Rows {
    rows: IntoIter<Row>,
    _lent: Option<Lent>,
}

impl StreamProducer<State> for Rows {
    type Item = Row;
    type Buffer = VecBuffer<Row>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: StoreContextMut<'a, State>,
        mut to: Destination<'a, Row, VecBuffer<Row>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let rows = &mut self.get_mut().rows;
        let some: Vec<Row> = rows.take(ROWS_AT_ONCE).collect();
        to.set_buffer(some.into());
        Poll::Ready(Ok(match rows.len() {
            0 => StreamResult::Dropped,
            _ => StreamResult::Completed,
        }))
    }
}
