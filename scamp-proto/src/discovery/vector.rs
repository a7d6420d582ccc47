//! The run-length-encoded vectors of version 4, kept as they came (D-13, HD-36).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::body::{Reader, Span};
use super::error::{ActionFault, AnnouncementError};
use super::json::{Cursor, Kind, Quoted, whole};
use crate::limits::ANNOUNCEMENT_ACTIONS;

/// The actions of the extension object, unexpanded.
#[derive(Clone, Debug, Default)]
pub(super) struct Extension {
    len: u32,
    names: Vector,
    namespaces: Vector,
    sectors: Vector,
    envelopes: Vector,
    versions: Vector,
    flags: Vector,
    compat: Vector,
}

/// One action of the extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: Span,
    pub(super) namespace: Span,
    pub(super) sector: Span,
    pub(super) envelopes: Span,
    pub(super) version: u32,
    pub(super) flags: Span,
}

impl Extension {
    /// How many actions there are, those left out included.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The action at `index`, unless it is left out; O(log runs).
    pub(super) fn row(&self, index: u32) -> Option<Row> {
        let text = |vector: &Vector| match vector.at(index) {
            Some(run) if run.fault.is_none() => Some(run.span()),
            Some(_) => None,
            None => Some(Span::default()),
        };
        let number = |vector: &Vector| match vector.at(index) {
            Some(run) if run.fault.is_none() => Some(run.value),
            Some(_) => None,
            None => Some(1),
        };
        if index >= self.len || number(&self.compat)? != 1 {
            return None;
        }
        Some(Row {
            name: text(&self.names)?,
            namespace: text(&self.namespaces)?,
            sector: text(&self.sectors)?,
            envelopes: text(&self.envelopes)?,
            version: number(&self.versions)?,
            flags: text(&self.flags)?,
        })
    }

    /// The runs whose actions are left out as bad: where they begin, and how many there are.
    pub(super) fn faults(&self) -> impl Iterator<Item = (u32, u32, ActionFault)> {
        [&self.names, &self.namespaces, &self.sectors, &self.versions]
            .into_iter()
            .flat_map(|vector| {
                let mut begin = 0;
                vector.0.iter().filter_map(move |run| {
                    let from = core::mem::replace(&mut begin, run.end);
                    Some((from, run.end.saturating_sub(from), run.fault?))
                })
            })
    }

    /// Octets of memory that the runs take.
    pub(super) fn memory(&self) -> usize {
        [
            &self.names,
            &self.namespaces,
            &self.sectors,
            &self.envelopes,
            &self.versions,
            &self.flags,
            &self.compat,
        ]
        .map(|vector| core::mem::size_of_val(&*vector.0))
        .into_iter()
        .fold(0, usize::saturating_add)
    }
}

/// The fields of an extension object, as far as they were met.
#[derive(Debug, Default)]
pub(super) struct Draft {
    columns: [Option<Column>; 7],
}

/// One field's runs, or a bare value that stands for as many as are needed.
#[derive(Debug)]
enum Column {
    Runs(Vec<Run>),
    Bare(Run),
}

/// The fields in the order of [`Draft::columns`], and which of them must be there beside the names.
const FIELDS: [(&str, bool); 7] = [
    ("acname", true),
    ("acns", true),
    ("acsec", true),
    ("acenv", true),
    ("acver", false),
    ("acflag", false),
    ("accompat", false),
];

impl Draft {
    /// Takes the value of `key` if it is a field of the extension, and says whether it was.
    pub(super) fn take<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        cursor: &mut Cursor<'a>,
        key: &Quoted<'a>,
    ) -> Result<bool, AnnouncementError> {
        let fields = FIELDS.iter().zip(&mut self.columns);
        for ((field, required), column) in fields {
            if key.is(field) {
                *column = match cursor.kind()? {
                    Kind::Null if !required => {
                        cursor.null()?;
                        None
                    }
                    _ => Some(read_column(reader, cursor, field)?),
                };
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The extension, if it has actions, and if all its vectors are of one length (D-12, D-13).
    pub(super) fn finish(self) -> Result<Option<Extension>, AnnouncementError> {
        let Some(names) = self.columns.first().and_then(Option::as_ref) else {
            return Ok(None);
        };
        let len = match names {
            Column::Runs(runs) => runs.last().map_or(0, |run| run.end),
            Column::Bare(_) => 1,
        };
        let mut vectors =
            self.columns
                .into_iter()
                .zip(FIELDS)
                .map(|(column, (field, required))| {
                    let runs = match column {
                        Some(Column::Runs(runs)) => runs,
                        Some(Column::Bare(run)) if len > 0 => Vec::from([Run { end: len, ..run }]),
                        Some(Column::Bare(_)) => Vec::new(),
                        None if required => return Err(AnnouncementError::BadVector(field)),
                        None => return Ok(Vector::default()),
                    };
                    match runs.last().map_or(0, |run| run.end) == len {
                        true => Ok(Vector(runs.into_boxed_slice())),
                        false => Err(AnnouncementError::BadVector(field)),
                    }
                });
        let mut next = || vectors.next().unwrap_or_else(|| Ok(Vector::default()));
        let extension = Extension {
            len,
            names: next()?,
            namespaces: next()?,
            sectors: next()?,
            envelopes: next()?,
            versions: next()?,
            flags: next()?,
            compat: next()?,
        };
        Ok((len > 0).then_some(extension))
    }
}

fn read_column<'a>(
    reader: &mut Reader<'a>,
    cursor: &mut Cursor<'a>,
    field: &'static str,
) -> Result<Column, AnnouncementError> {
    if cursor.kind()? != Kind::Array {
        return Ok(Column::Bare(read_value(reader, cursor, field)?));
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut end = 0_u32;
    cursor.array(|cursor, _| {
        let (count, run) = match cursor.kind()? {
            Kind::Array => read_run(reader, cursor, field)?,
            _ => (1, read_value(reader, cursor, field)?),
        };
        // The sum is judged before anything is made of it (HD-4).
        let sum = u32::try_from(count)
            .ok()
            .and_then(|count| end.checked_add(count));
        end = match sum.filter(|sum| *sum <= ANNOUNCEMENT_ACTIONS) {
            Some(sum) => sum,
            None if field == "acname" => return Err(AnnouncementError::TooManyActions),
            None => return Err(AnnouncementError::BadVector(field)),
        };
        if count > 0 {
            runs.push(Run { end, ..run });
        }
        Ok(())
    })?;
    Ok(Column::Runs(runs))
}

/// `[count, value]`
fn read_run<'a>(
    reader: &mut Reader<'a>,
    cursor: &mut Cursor<'a>,
    field: &'static str,
) -> Result<(u64, Run), AnnouncementError> {
    let (mut count, mut value) = (None, None);
    let elements = cursor.array(|cursor, index| {
        match (index, cursor.kind()?) {
            (0, Kind::Number) => count = whole(cursor.number()?),
            (1, _) => value = Some(read_value(reader, cursor, field)?),
            _ => return Err(AnnouncementError::BadVector(field)),
        }
        Ok(())
    })?;
    match (elements, count, value) {
        (2, Some(count), Some(value)) => Ok((count, value)),
        _ => Err(AnnouncementError::BadVector(field)),
    }
}

/// One value; its `end` is for the caller to set.
fn read_value<'a>(
    reader: &mut Reader<'a>,
    cursor: &mut Cursor<'a>,
    field: &'static str,
) -> Result<Run, AnnouncementError> {
    let bad = AnnouncementError::BadVector(field);
    match (field, cursor.kind()?) {
        ("acver", Kind::Number) => {
            let version = whole(cursor.number()?).ok_or(bad)?;
            Ok(match checked_version(version) {
                Some(version) => Run::number(version),
                None => Run {
                    fault: Some(ActionFault::Version),
                    ..Run::number(0)
                },
            })
        }
        ("accompat", Kind::Number) => {
            let compat = whole(cursor.number()?).ok_or(bad)?;
            Ok(Run::number(u32::from(compat == 1)))
        }
        ("acver" | "accompat", _) => Err(bad),
        (_, Kind::String) => {
            let span = reader.span(&cursor.string()?)?;
            let text = reader.of(span);
            let fault = match field {
                "acname" => name_fault(text),
                "acns" => namespace_fault(text),
                "acsec" => sector_fault(text),
                _ => None,
            };
            Ok(Run {
                end: 0,
                value: span.at,
                len: span.len,
                fault,
            })
        }
        _ => Err(bad),
    }
}

/// D-11
pub(super) fn name_fault(text: &str) -> Option<ActionFault> {
    (text.is_empty() || text.contains([':', '.'])).then_some(ActionFault::Name)
}

/// D-11
pub(super) fn namespace_fault(text: &str) -> Option<ActionFault> {
    (text.is_empty() || text.contains(':')).then_some(ActionFault::Namespace)
}

/// D-11
pub(super) fn sector_fault(text: &str) -> Option<ActionFault> {
    text.contains(':').then_some(ActionFault::Sector)
}

/// D-11
pub(super) fn checked_version(version: u64) -> Option<u32> {
    let version = i32::try_from(version).ok().filter(|version| *version > 0)?;
    u32::try_from(version).ok()
}

/// Runs in their order; empty where the field is absent.
#[derive(Clone, Debug, Default)]
struct Vector(Box<[Run]>);

impl Vector {
    fn at(&self, index: u32) -> Option<&Run> {
        self.0.get(self.0.partition_point(|run| run.end <= index))
    }
}

/// Some elements with one value.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// How many elements this run and those before it have.
    end: u32,
    /// The number, or where the text stands.
    value: u32,
    /// Of a text.
    len: u16,
    /// Why actions with this value are left out.
    fault: Option<ActionFault>,
}

impl Run {
    fn number(value: u32) -> Self {
        Self {
            end: 0,
            value,
            len: 0,
            fault: None,
        }
    }

    fn span(&self) -> Span {
        Span {
            at: self.value,
            len: self.len,
        }
    }
}
