//! The columns of a file and what each holds.

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use ::parquet::file::metadata::FileMetaData;
use ::parquet::schema::types::Type;

/// A column, or a field of a struct.
pub(super) struct Column {
    /// Its name; that of a field is `a.b`.
    pub name: String,
    pub kind: Kind,
}

/// What a column holds, with the numbers of its leaf columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Structs of encoded images and their paths.
    Images {
        bytes: usize,
        path: Option<usize>,
        /// Definition level of a row whose struct is there.
        present: i16,
    },
    Bytes(usize),
    Text(usize),
    Integers {
        leaf: usize,
        signed: bool,
    },
    Floats(usize),
    Bools(usize),
    /// Nothing but nulls, of no type.
    Nulls(usize),
    ImageLists,
    Lists,
    Other(&'static str),
}

impl Kind {
    /// In words, as a message says it.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Kind::Images { .. } => "images",
            Kind::Bytes(_) => "bytes",
            Kind::Text(_) => "text",
            Kind::Integers { .. } => "whole numbers",
            Kind::Floats(_) => "numbers",
            Kind::Bools(_) => "true and false",
            Kind::Nulls(_) => "nothing",
            Kind::ImageLists => "lists of images",
            Kind::Lists => "lists",
            Kind::Other(words) => words,
        }
    }
}

/// All columns, in their order.
pub(super) fn columns(metadata: &FileMetaData) -> Vec<Column> {
    let mut walk = Walk { columns: Vec::new(), leaf: 0 };
    for field in metadata.schema_descr().root_schema().get_fields() {
        walk.field(field, "", 0);
    }
    walk.columns
}

struct Walk {
    columns: Vec<Column>,
    /// Number of the next leaf.
    leaf: usize,
}

impl Walk {
    /// A field of a struct that is there at definition level `above`.
    fn field(&mut self, field: &Type, prefix: &str, above: i16) {
        let name = format!("{prefix}{}", field.name());
        let first = self.leaf;
        if field.is_primitive() && !is_repeated(field) {
            self.leaf += 1;
            self.columns.push(Column { name, kind: primitive(field, first) });
        } else if field.is_primitive() || is_repeated(field) || is_collection(field) {
            self.leaf += leaves(field);
            let kind = if holds_bytes(field) { Kind::ImageLists } else { Kind::Lists };
            self.columns.push(Column { name, kind });
        } else {
            let present = above + i16::from(field.is_optional());
            match image_struct(field, first, present) {
                Some(kind) => {
                    self.leaf += leaves(field);
                    self.columns.push(Column { name, kind });
                }
                None => {
                    let prefix = format!("{name}.");
                    field.get_fields().iter().for_each(|field| self.field(field, &prefix, present));
                }
            }
        }
    }
}

/// The struct of `bytes` and maybe `path` that Hugging Face writes for an image.
fn image_struct(group: &Type, first: usize, present: i16) -> Option<Kind> {
    let mut leaf = first;
    let (mut bytes, mut path) = (None, None);
    for field in group.get_fields() {
        if field.is_primitive() && !is_repeated(field) {
            match (field.name(), primitive(field, leaf)) {
                ("bytes", Kind::Bytes(at)) => bytes = Some(at),
                ("path", Kind::Text(at) | Kind::Bytes(at)) => path = Some(at),
                _ => {}
            }
        }
        leaf += leaves(field);
    }
    bytes.map(|bytes| Kind::Images { bytes, path, present })
}

fn primitive(field: &Type, leaf: usize) -> Kind {
    let info = field.get_basic_info();
    let (logical, converted) = (info.logical_type_ref(), info.converted_type());
    match (field.get_physical_type(), logical, converted) {
        (_, Some(LogicalType::Unknown), _) => Kind::Nulls(leaf),
        (_, Some(LogicalType::Decimal(_)), _) | (_, _, ConvertedType::DECIMAL) => {
            Kind::Other("decimal numbers")
        }
        (Physical::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum), _)
        | (Physical::BYTE_ARRAY, _, ConvertedType::UTF8 | ConvertedType::ENUM) => Kind::Text(leaf),
        (Physical::BYTE_ARRAY, Some(LogicalType::Json), _)
        | (Physical::BYTE_ARRAY, _, ConvertedType::JSON) => Kind::Other("JSON"),
        (Physical::BYTE_ARRAY, ..) => Kind::Bytes(leaf),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(int)), _) => {
            Kind::Integers { leaf, signed: int.is_signed }
        }
        (Physical::INT32 | Physical::INT64, Some(_), _) | (Physical::INT96, ..) => {
            Kind::Other("times")
        }
        (Physical::INT32 | Physical::INT64, None, converted) => match converted {
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64 => Kind::Integers { leaf, signed: true },
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Kind::Integers { leaf, signed: false },
            _ => Kind::Other("times"),
        },
        (Physical::BOOLEAN, ..) => Kind::Bools(leaf),
        (Physical::FLOAT | Physical::DOUBLE, ..) => Kind::Floats(leaf),
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16), _) => {
            Kind::Other("16-bit numbers")
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, ..) => Kind::Other("bytes of a fixed length"),
    }
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

fn is_collection(field: &Type) -> bool {
    let info = field.get_basic_info();
    let logical = matches!(info.logical_type_ref(), Some(LogicalType::List | LogicalType::Map));
    let known = [ConvertedType::LIST, ConvertedType::MAP, ConvertedType::MAP_KEY_VALUE];
    logical || known.contains(&info.converted_type())
}

fn leaves(field: &Type) -> usize {
    if field.is_primitive() { 1 } else { field.get_fields().iter().map(|f| leaves(f)).sum() }
}

fn holds_bytes(field: &Type) -> bool {
    if field.is_primitive() {
        return matches!(primitive(field, 0), Kind::Bytes(_));
    }
    field.get_fields().iter().any(|field| holds_bytes(field))
}
