//! The few calls that are understood, and which others are left without being made.

use super::{Id, Node, Object, Refusal, Storage, View};
use crate::tensor::Dtype;

/// Most axes of a tensor: torch's own limit.
const MOST_AXES: usize = 64;

/// Longest name of a class or storage, in bytes: each object of it holds a copy.
const LONGEST_NAME: usize = 512;

/// How a pickle makes an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// By calling a function or class.
    Function,
    /// By a class's `__new__`, which runs none of the file's choice.
    New,
}

/// What a call gives.
pub(super) enum Made {
    /// A value that there is already.
    Same(Id),
    Node(Node),
}

/// A class or function by its name.
pub(super) fn global(module: &str, name: &str) -> Result<Node, Refusal> {
    if module.len() + name.len() > LONGEST_NAME {
        return Err(Refusal::damaged("its pickle has a class with a name of over 512 letters"));
    }
    Ok(Node::Global(module.into(), name.into()))
}

/// Understands a call, leaves it as an object of an unknown class, or refuses it as code.
pub(super) fn call(
    nodes: &[Node],
    module: &str,
    name: &str,
    args: &[Id],
    how: Call,
) -> Result<Made, Refusal> {
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Ok(Made::Node(dictionary(nodes, args))),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
            tensor(nodes, args).map(Made::Node)
        }
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            args.first().map(|&id| Made::Same(id)).ok_or_else(few)
        }
        ("torch._tensor", "_rebuild_from_type_v2") => inner(nodes, args),
        ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple") => {
            Ok(args.first().map_or(Made::Node(Node::List(Vec::new())), |&id| Made::Same(id)))
        }
        ("copyreg" | "copy_reg", "_reconstructor" | "__newobj__") => {
            let class = args.first().map(|&id| &nodes[id as usize]);
            let Some(Node::Global(module, name)) = class else { return Err(few()) };
            refuse_code(module, name, Call::New)?;
            Ok(unknown(nodes, module, name, args))
        }
        _ => {
            refuse_code(module, name, how)?;
            Ok(unknown(nodes, module, name, args))
        }
    }
}

/// A tensor of a subclass: the call within the call.
fn inner(nodes: &[Node], args: &[Id]) -> Result<Made, Refusal> {
    let &[function, _, args, ..] = args else { return Err(few()) };
    match (&nodes[function as usize], &nodes[args as usize]) {
        (Node::Global(module, name), Node::Tuple(_)) if **name == *"_rebuild_from_type_v2" => {
            Err(Refusal::damaged(format!("its pickle has {module}.{name} within itself")))
        }
        (Node::Global(module, name), Node::Tuple(args)) => {
            call(nodes, module, name, args, Call::Function)
        }
        _ => Err(few()),
    }
}

fn unknown(nodes: &[Node], module: &str, name: &str, args: &[Id]) -> Made {
    let holds_tensor = args.iter().any(|&id| holds_tensor(nodes, id));
    let class = format!("{module}.{name}");
    Made::Node(Node::Object(Box::new(Object { class, holds_tensor, ..Object::default() })))
}

/// Whether an argument is a tensor or a storage, or a tuple of such.
fn holds_tensor(nodes: &[Node], id: Id) -> bool {
    let is_tensor = |id: Id| matches!(nodes[id as usize], Node::Tensor(_) | Node::Storage(_));
    match &nodes[id as usize] {
        Node::Tuple(items) => items.iter().take(MOST_AXES).any(|&id| is_tensor(id)),
        _ => is_tensor(id),
    }
}

/// Modules of Python's library, or names in them, whose calls only make a plain value.
const PLAIN: &[(&str, &[&str])] = &[
    ("builtins", &["bytearray", "bytes", "complex", "dict", "float", "int", "object", "range"]),
    ("builtins", &["slice", "str", "bool"]),
    ("__builtin__", &["bytearray", "complex", "dict", "float", "int", "long", "object", "slice"]),
    ("__builtin__", &["unicode", "xrange"]),
    ("_codecs", &["encode"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("collections", &["Counter", "deque", "UserDict", "UserList"]),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("functools", &["partial"]),
    ("pathlib", &["Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath"]),
    ("pathlib", &["PureWindowsPath"]),
    ("pathlib._local", &["Path", "PosixPath", "WindowsPath"]),
    ("uuid", &["UUID"]),
    ("torch", &["device", "dtype", "Size", "Tensor", "Generator", "tensor"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.storage", &["_load_from_bytes"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("numpy.random._pickle", &["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"]),
];

/// First parts of names of Python's own modules and of those that fetch or run code.
const SYSTEM: &[&str] = &[
    "_posixsubprocess",
    "_io",
    "_pickle",
    "_thread",
    "aiohttp",
    "argparse",
    "ast",
    "asyncio",
    "atexit",
    "base64",
    "bdb",
    "builtins",
    "__builtin__",
    "bz2",
    "code",
    "codecs",
    "_codecs",
    "codeop",
    "cProfile",
    "commands",
    "cloudpickle",
    "collections",
    "compileall",
    "concurrent",
    "copyreg",
    "copy_reg",
    "ctypes",
    "datetime",
    "decimal",
    "dill",
    "distutils",
    "doctest",
    "ensurepip",
    "fileinput",
    "fractions",
    "ftplib",
    "functools",
    "gc",
    "gzip",
    "http",
    "httplib",
    "imp",
    "importlib",
    "inspect",
    "io",
    "itertools",
    "joblib",
    "linecache",
    "lzma",
    "marshal",
    "mmap",
    "multiprocessing",
    "netrc",
    "nt",
    "ntpath",
    "operator",
    "os",
    "pathlib",
    "pdb",
    "pickle",
    "pip",
    "pkg_resources",
    "pkgutil",
    "platform",
    "poplib",
    "posix",
    "posixpath",
    "pprint",
    "profile",
    "pty",
    "py_compile",
    "pydoc",
    "requests",
    "resource",
    "runpy",
    "sched",
    "select",
    "setuptools",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "sysconfig",
    "tarfile",
    "telnetlib",
    "tempfile",
    "test",
    "threading",
    "timeit",
    "trace",
    "types",
    "urllib",
    "urllib2",
    "urllib3",
    "uuid",
    "venv",
    "webbrowser",
    "winreg",
    "xmlrpc",
    "zipapp",
    "zipfile",
    "zipimport",
];

/// Refuses to go on where a file would run code. Nothing would be run here; but a file that tries is
/// no file of weights.
///
/// Let through are known makers of plain values, whatever torch rebuilds, and classes, which begin
/// with a capital, of modules that are not Python's own.
fn refuse_code(module: &str, name: &str, how: Call) -> Result<(), Refusal> {
    let plain = PLAIN.iter().any(|(known, names)| *known == module && names.contains(&name));
    if plain || (module == "torch._utils" && name.starts_with("_rebuild")) {
        return Ok(());
    }
    let first = module.split('.').next().unwrap_or(module);
    let last = name.rsplit('.').next().unwrap_or(name);
    let class = last.trim_start_matches('_').starts_with(char::is_uppercase);
    let system = SYSTEM.contains(&first);
    match how {
        Call::New if !system => Ok(()),
        Call::Function if !system && class => Ok(()),
        _ => Err(Refusal::Code(format!("it calls {}", shown(&format!("{module}.{name}"))))),
    }
}

/// A name of the file's, fit for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `OrderedDict()`, `OrderedDict([(key, value), ...])` or `defaultdict(factory)`.
fn dictionary(nodes: &[Node], args: &[Id]) -> Node {
    let items = match args.first().map(|&id| &nodes[id as usize]) {
        Some(Node::List(items) | Node::Tuple(items)) => items.as_slice(),
        _ => &[],
    };
    let pair = |&id: &Id| match &nodes[id as usize] {
        Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
        _ => None,
    };
    Node::Dict(items.iter().filter_map(pair).collect())
}

/// A storage of a persistent id: `('storage', type, key, device, count[, view])`; or, in whole
/// modules of early files, the class of `('module', class, file, source)`.
pub(super) fn persistent(nodes: &[Node], id: Id) -> Result<Node, Refusal> {
    let Node::Tuple(fields) = &nodes[id as usize] else {
        return Err(Refusal::damaged("its pickle names a storage by no tuple"));
    };
    let field = |i: usize| fields.get(i).map(|&id| &nodes[id as usize]);
    match (field(0), field(1)) {
        (Some(Node::Text(kind)), Some(Node::Global(module, name))) if kind == "module" => {
            Ok(Node::Global(module.clone(), name.clone()))
        }
        (Some(Node::Text(kind)), Some(Node::Global(_, class))) if kind == "storage" => {
            let (Some(Node::Text(key)), Some(&Node::Int(count))) = (field(2), field(4)) else {
                return Err(Refusal::damaged("its pickle names a storage without key or length"));
            };
            if key.len() > LONGEST_NAME {
                return Err(Refusal::damaged("a storage has a key of over 512 letters"));
            }
            let count = u64::try_from(count)
                .map_err(|_| Refusal::damaged(format!("a storage has {count} values")))?;
            let (first, count) = storage_view(nodes, field(5), count)?;
            let Some(dtype) = storage_type(class) else {
                let class = format!("torch.{class}");
                return Ok(Node::Object(Box::new(Object { class, ..Object::default() })));
            };
            Ok(Node::Storage(Box::new(Storage { key: key.clone(), dtype, count, first })))
        }
        _ => Err(Refusal::damaged("its pickle names something that is no storage")),
    }
}

/// `(key, first, count)` of a part of a storage.
fn storage_view(nodes: &[Node], view: Option<&Node>, count: u64) -> Result<(u64, u64), Refusal> {
    let Some(Node::Tuple(view)) = view else { return Ok((0, count)) };
    let number = |i: usize| match view.get(i).map(|&id| &nodes[id as usize]) {
        Some(&Node::Int(n)) => u64::try_from(n).ok(),
        _ => None,
    };
    match (number(1), number(2)) {
        (Some(first), Some(length))
            if first.checked_add(length).is_some_and(|end| end <= count) =>
        {
            Ok((first, length))
        }
        _ => Err(Refusal::damaged("a part of a storage lies beyond it")),
    }
}

/// Type of the values of a class of storages; `Some(None)` for untyped ones.
fn storage_type(class: &str) -> Option<Option<Dtype>> {
    let int = |bytes, signed| Dtype::Int { bytes, signed };
    Some(Some(match class {
        "UntypedStorage" => return Some(None),
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => int(8, true),
        "IntStorage" => int(4, true),
        "ShortStorage" => int(2, true),
        "CharStorage" => int(1, true),
        "ByteStorage" => int(1, false),
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    }))
}

/// torch's name of a type, as the third way of rebuilding has it.
fn named_type(name: &str) -> Option<Dtype> {
    let int = |bytes, signed| Dtype::Int { bytes, signed };
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" => int(8, true),
        "int32" => int(4, true),
        "int16" => int(2, true),
        "int8" => int(1, true),
        "uint64" => int(8, false),
        "uint32" => int(4, false),
        "uint16" => int(2, false),
        "uint8" => int(1, false),
        "bool" => Dtype::Bool,
        _ => return None,
    })
}

/// `(storage, first, shape, strides, ...)`, and in the third way a type as the seventh argument.
fn tensor(nodes: &[Node], args: &[Id]) -> Result<Node, Refusal> {
    let &[storage, first, shape, strides, ..] = args else { return Err(few()) };
    let storage = match &nodes[storage as usize] {
        Node::Storage(storage) => (**storage).clone(),
        Node::Object(object) => return Ok(Node::Object(object.clone())),
        _ => return Err(Refusal::damaged("its pickle makes a tensor of what is no storage")),
    };
    let named = match args.get(6).map(|&id| &nodes[id as usize]) {
        Some(Node::Global(module, name)) if **module == *"torch" => match named_type(name) {
            Some(dtype) => Some(dtype),
            None => {
                let class = format!("torch.{name}");
                return Ok(Node::Object(Box::new(Object { class, ..Object::default() })));
            }
        },
        _ => None,
    };
    let dtype = named.or(storage.dtype);
    let dtype = dtype.ok_or_else(|| Refusal::damaged("a tensor has no type"))?;
    let first = whole(nodes, first)?;
    let shape = wholes(nodes, shape)?;
    let strides = wholes(nodes, strides)?;
    if shape.len() != strides.len() {
        return Err(Refusal::damaged("a tensor's shape and strides differ in length"));
    }
    let shape = shape.iter().map(|&n| n as usize).collect();
    let view = View { storage, dtype, first, shape, strides };
    view.check()?;
    Ok(Node::Tensor(Box::new(view)))
}

fn whole(nodes: &[Node], id: Id) -> Result<u64, Refusal> {
    match nodes[id as usize] {
        Node::Int(n) => u64::try_from(n)
            .map_err(|_| Refusal::damaged(format!("a tensor has a size or stride of {n}"))),
        _ => Err(Refusal::damaged("a tensor has a size or stride that is no number")),
    }
}

fn wholes(nodes: &[Node], id: Id) -> Result<Vec<u64>, Refusal> {
    match &nodes[id as usize] {
        Node::Tuple(items) | Node::List(items) if items.len() <= MOST_AXES => {
            items.iter().map(|&i| whole(nodes, i)).collect()
        }
        _ => Err(Refusal::damaged("a tensor's shape is no list of up to 64 sizes")),
    }
}

impl View {
    /// Whether every value lies within the storage, and the values are no more than it has but for
    /// small tensors that repeat some.
    fn check(&self) -> Result<(), Refusal> {
        let count = self.shape.iter().try_fold(1u64, |n, &side| n.checked_mul(side as u64));
        let count = count.filter(|&n| n < 1 << 40);
        let count = count.ok_or_else(|| self.beyond())?;
        let available = match self.storage.dtype {
            Some(dtype) => self.storage.count.checked_mul(dtype.bytes() as u64),
            None => Some(self.storage.count),
        };
        let available = available.ok_or_else(|| self.beyond())? / self.dtype.bytes() as u64;
        let reach =
            self.shape.iter().zip(&self.strides).try_fold(0u64, |reach, (&side, &stride)| {
                (side as u64).saturating_sub(1).checked_mul(stride)?.checked_add(reach)
            });
        let end = reach.and_then(|reach| reach.checked_add(self.first)?.checked_add(1));
        let inside = count == 0 || end.is_some_and(|end| end <= available);
        if !inside || count > available.max(1 << 20) {
            return Err(self.beyond());
        }
        Ok(())
    }

    fn beyond(&self) -> Refusal {
        Refusal::damaged(format!(
            "a tensor of shape {:?} from value {} on reaches beyond its storage of {} values",
            self.shape, self.first, self.storage.count
        ))
    }
}

fn few() -> Refusal {
    Refusal::damaged("its pickle rebuilds a tensor from too few values")
}
