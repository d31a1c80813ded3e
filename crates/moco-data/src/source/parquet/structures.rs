//! The structures of a Parquet file that the library reads, and how each of their fields is written.
//!
//! The library reads a field that it knows as what it should be, whatever kind the file says it is,
//! and passes over other fields as what they are. Only of a file whose known fields are of their kind can
//! thus be told beforehand what the library will read.
//!
//! Source: `parquet.thrift` of apache/parquet-format, the fields that parquet 60.1 does not pass over.

use Form::{Byte, Bytes, Double, List, Number, Structure, Truth};

/// How a value is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Truth,
    Byte,
    /// A number of seven bits a byte, or an enumeration's.
    Number,
    Double,
    Bytes,
    List(&'static Form),
    Structure(Fields),
}

/// The fields of a structure, by number.
pub(super) type Fields = &'static [(i16, Form)];

/// What the file ends with: `FileMetaData`.
pub(super) const FOOTER: Fields = &[
    (1, Number),
    (2, List(&Structure(SCHEMA_ELEMENT))),
    (3, Number),
    (4, List(&Structure(ROW_GROUP))),
    (5, List(&Structure(KEY_VALUE))),
    (6, Bytes),
    (7, List(&Structure(COLUMN_ORDER))),
];

/// What each page begins with: `PageHeader`.
pub(super) const PAGE_HEADER: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Structure(DATA_PAGE)),
    (6, EMPTY),
    (7, Structure(DICTIONARY_PAGE)),
    (8, Structure(DATA_PAGE_V2)),
];

/// Where the pages of a column of a row group lie: `OffsetIndex`.
pub(super) const OFFSET_INDEX: Fields =
    &[(1, List(&Structure(&[(1, Number), (2, Number), (3, Number)]))), (2, List(&Number))];

const EMPTY: Form = Structure(&[]);

const SCHEMA_ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Bytes),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Structure(LOGICAL_TYPE)),
];

const LOGICAL_TYPE: Fields = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Structure(&[(1, Number), (2, Number)])),
    (6, EMPTY),
    (7, Structure(TIME)),
    (8, Structure(TIME)),
    (10, Structure(&[(1, Byte), (2, Truth)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Structure(&[(1, Byte)])),
    (17, Structure(&[(1, Bytes)])),
    (18, Structure(&[(1, Bytes), (2, Number)])),
    (19, EMPTY),
];

const TIME: Fields = &[(1, Truth), (2, Structure(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))];

const ROW_GROUP: Fields = &[
    (1, List(&Structure(COLUMN_CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Structure(&[(1, Number), (2, Truth), (3, Truth)]))),
    (5, Number),
    (7, Number),
];

const COLUMN_CHUNK: Fields = &[
    (1, Bytes),
    (2, Number),
    (3, Structure(COLUMN)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
];

const COLUMN: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Structure(STATISTICS)),
    (13, List(&Structure(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (16, Structure(&[(1, Number), (2, List(&Number)), (3, List(&Number))])),
    (17, Structure(&[(1, Structure(BOUNDING_BOX)), (2, List(&Number))])),
];

const STATISTICS: Fields = &[
    (1, Bytes),
    (2, Bytes),
    (3, Number),
    (4, Number),
    (5, Bytes),
    (6, Bytes),
    (7, Truth),
    (8, Truth),
    (9, Number),
];

const BOUNDING_BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];

const KEY_VALUE: Fields = &[(1, Bytes), (2, Bytes)];

const COLUMN_ORDER: Fields = &[(1, EMPTY), (2, EMPTY), (3, EMPTY)];

const DATA_PAGE: Fields = &[(1, Number), (2, Number), (3, Number), (4, Number)];

const DATA_PAGE_V2: Fields =
    &[(1, Number), (2, Number), (3, Number), (4, Number), (5, Number), (6, Number), (7, Truth)];

const DICTIONARY_PAGE: Fields = &[(1, Number), (2, Number), (3, Truth)];
