//! Reads `schema.txt`, without copying it: a type is three slices of the text, an index of where they are
//! finds it, and a field's line is parsed each time it is looked at. `tests/schema-table` writes the text.

use std::sync::OnceLock;

const TEXT: &str = include_str!("../schema.txt");

/// What every type marked `kind` has besides the fields in its own lines.
const KIND_FIELDS: &str = " apiVersion string\n kind string\n";

static INDEX: OnceLock<Index> = OnceLock::new();

struct Index {
    packages: Vec<Package>,
}

/// The types of one Go package, which are those of one group and version (and `meta.v1`).
#[derive(Debug)]
pub struct Package {
    /// How other packages of the table call it: `core.v1`.
    pub name: &'static str,
    /// `v1`, `coordination.k8s.io/v1`.
    pub api_version: &'static str,
    /// What comes before the type's name in OpenAPI documents: `io.k8s.api.core.v1`.
    pub openapi_prefix: &'static str,
    /// Where its types are in the text, ordered by the types' names.
    types: Vec<Spot>,
}

/// A type's place in the text. Every write looks up some hundred types: no search for where one ends.
#[derive(Clone, Copy, Debug)]
struct Spot {
    /// Of the head line.
    start: u32,
    /// Bytes of the name, with the `~` of a string type.
    name: u16,
    /// Bytes of the head line.
    head: u16,
    /// Bytes of the fields' lines, which follow it.
    body: u32,
}

/// A struct or string type of the table.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    pub package: &'static Package,
    /// With the `~` of a string type.
    label: &'static str,
    /// What follows it in its line.
    marks: &'static str,
    body: &'static str,
}

/// One field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    marks: &'static str,
}

/// The type of a field, or of the items of a list or map.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    package: &'static Package,
    text: &'static str,
}

/// What a [`Shape`] says.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    List(Shape),
    Map(Shape),
    Struct(Type),
    /// A string type with a name of its own, perhaps with a closed set of values.
    Named(Type),
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON: not looked into.
    Any,
}

/// How strategic merge patch treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Items are objects, told apart by this key.
    Key(&'static str),
    /// Items are scalars: the patch adds to them.
    Scalars,
}

/// What sets a field that the client left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Default {
    pub json: &'static str,
    /// `""` and `0` count as absent too.
    pub replaces_empty: bool,
}

/// All packages of the table.
pub fn packages() -> &'static [Package] {
    &INDEX.get_or_init(build).packages
}

/// The text of the table, for hashing.
pub fn text() -> &'static str {
    TEXT
}

/// The type of a kind, from `apiVersion` and `kind`.
pub fn kind(api_version: &str, kind: &str) -> Option<Type> {
    packages().iter().find(|package| package.api_version == api_version)?.find(kind)
}

/// A type by its package and name: `("meta.v1", "ObjectMeta")`.
pub fn find(package: &str, name: &str) -> Option<Type> {
    packages().iter().find(|candidate| candidate.name == package)?.find(name)
}

fn build() -> Index {
    let mut packages: Vec<Package> = Vec::new();
    let mut offset = 0;
    for line in TEXT.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("@ ") {
            let mut words = rest.split_whitespace();
            packages.push(Package {
                name: words.next().unwrap_or_default(),
                api_version: words.next().unwrap_or_default(),
                openapi_prefix: words.next().unwrap_or_default(),
                types: Vec::new(),
            });
        } else if !line.starts_with(['#', '\n'])
            && let Some(package) = packages.last_mut()
        {
            match package.types.last_mut() {
                Some(spot) if line.starts_with(' ') => spot.body += line.len() as u32,
                _ => {
                    let head = line.trim_end().len() as u16;
                    let name = line.find([' ', '\n']).map_or(head, |end| end as u16);
                    package.types.push(Spot { start: offset, name, head, body: 0 });
                }
            }
        }
        offset += line.len() as u32;
    }
    for package in &mut packages {
        package.types.sort_by_key(Spot::name);
        package.types.shrink_to_fit();
    }
    Index { packages }
}

impl Spot {
    fn label(&self) -> &'static str {
        let start = self.start as usize;
        &TEXT[start..start + usize::from(self.name)]
    }

    fn name(&self) -> &'static str {
        let label = self.label();
        label.strip_prefix('~').unwrap_or(label)
    }

    fn read(&self, package: &'static Package) -> Type {
        let (label, end) = (self.label(), self.start as usize + usize::from(self.head));
        let marks = &TEXT[self.start as usize + label.len()..end];
        // Past the head's newline.
        let body = if self.body == 0 { "" } else { &TEXT[end + 1..end + 1 + self.body as usize] };
        Type { package, label, marks, body }
    }
}

impl Package {
    /// The types of the package, ordered by name.
    pub fn types(&'static self) -> impl Iterator<Item = Type> {
        self.types.iter().map(move |spot| spot.read(self))
    }

    /// A type by its name.
    pub fn find(&'static self, name: &str) -> Option<Type> {
        let found = self.types.binary_search_by(|spot| spot.name().cmp(name)).ok()?;
        Some(self.types[found].read(self))
    }
}

impl Type {
    pub fn name(&self) -> &'static str {
        self.label.strip_prefix('~').unwrap_or(self.label)
    }

    /// Whether it is a string type, not a struct.
    pub fn is_string(&self) -> bool {
        self.label.starts_with('~')
    }

    /// Whether it has `apiVersion` and `kind`.
    pub fn is_kind(&self) -> bool {
        self.marked("kind")
    }

    /// Whether server-side apply takes it as a whole.
    pub fn is_atomic(&self) -> bool {
        self.marked("atomic")
    }

    fn marked(&self, mark: &str) -> bool {
        !self.marks.is_empty() && !self.is_string() && self.marks.split(' ').any(|word| word == mark)
    }

    /// The values a string type may have; none: any value.
    pub fn values(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        let words = if self.is_string() { self.marks } else { "" };
        let unquote = |word: &'static str| if word == "\"\"" { "" } else { word };
        words.split(' ').skip(1).map(unquote)
    }

    /// Its name in OpenAPI documents: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self) -> String {
        format!("{}.{}", self.package.openapi_prefix, self.name())
    }

    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        let package = self.package;
        self.lines().map(move |line| Field::parse(package, line))
    }

    pub fn field(&self, name: &str) -> Option<Field> {
        // What follows the name in its line is no part of it.
        let is_name = !name.contains(' ');
        let is_it = |line: &&str| line.as_bytes().get(name.len()) == Some(&b' ') && line.starts_with(name);
        self.lines().find(|line| is_name && is_it(line)).map(|line| Field::parse(self.package, line))
    }

    /// The fields' lines, without the space that each begins with.
    fn lines(&self) -> impl Iterator<Item = &'static str> + use<> {
        let implied = if self.is_kind() { KIND_FIELDS } else { "" };
        [implied, self.body].into_iter().flat_map(|mut rest| {
            std::iter::from_fn(move || {
                let (line, after) = split(rest, b'\n')?;
                rest = after;
                line.get(1..)
            })
        })
    }
}

/// [`str::split_once`], which takes several times as long over texts as short as these.
fn split(text: &'static str, at: u8) -> Option<(&'static str, &'static str)> {
    let end = text.bytes().position(|byte| byte == at)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

impl Field {
    fn parse(package: &'static Package, line: &'static str) -> Field {
        let (name, rest) = split(line, b' ').unwrap_or((line, "any"));
        let (text, marks) = split(rest, b' ').unwrap_or((rest, ""));
        Field { name, shape: Shape { package, text }, marks }
    }

    fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        // Most fields have none, and each is asked for several.
        let mut rest = Some(self.marks).filter(|marks| !marks.is_empty());
        std::iter::from_fn(move || {
            let (word, after) = split(rest?, b' ').map_or((rest?, None), |(word, after)| (word, Some(after)));
            rest = after;
            Some(word)
        })
    }

    fn marked(&self, mark: &str) -> bool {
        self.words().any(|word| word == mark)
    }

    /// The protobuf field number, with those of the embedded messages before it: `2.5`. None: an object's
    /// `apiVersion` and `kind`, and fields that are too new for the table's source of numbers.
    pub fn number(&self) -> Option<&'static str> {
        self.words().find_map(|word| word.strip_prefix('#'))
    }

    /// Whether the OpenAPI document calls it required.
    pub fn is_required(&self) -> bool {
        self.marked("!") || self.is_checked()
    }

    /// Whether an object without it is refused.
    pub fn is_checked(&self) -> bool {
        self.marked("!!")
    }

    /// The keys that tell the items of a list of type `map` apart, joined by commas.
    pub fn list_keys(&self) -> Option<&'static str> {
        self.words().find_map(|word| word.strip_prefix("map="))
    }

    /// Whether something empty says more than nothing: Go has a pointer there. Of scalars only.
    pub fn is_pointer(&self) -> bool {
        self.marked("*")
    }

    /// Whether it is a list of type `set`.
    pub fn is_set(&self) -> bool {
        self.marked("set")
    }

    /// Whether server-side apply takes it as a whole.
    pub fn is_atomic(&self) -> bool {
        self.marked("atomic")
    }

    /// How strategic merge patch merges it, if it does: other lists are replaced.
    pub fn merge(&self) -> Option<Merge> {
        self.words().find_map(|word| match word.split_once('=') {
            Some(("merge", key)) => Some(Merge::Key(key)),
            None if word == "merge" => Some(Merge::Scalars),
            _ => None,
        })
    }

    /// Whether its patch strategy is `retainKeys`.
    pub fn retains_keys(&self) -> bool {
        self.marked("retain")
    }

    /// What it is when the client leaves it out.
    pub fn default(&self) -> Option<Default> {
        if !self.marks.bytes().any(|byte| byte == b'=') {
            return None;
        }
        self.words().find_map(|word| {
            if let Some(json) = word.strip_prefix(":=") {
                return Some(Default { json, replaces_empty: true });
            }
            word.strip_prefix('=').map(|json| Default { json, replaces_empty: false })
        })
    }
}

impl Shape {
    /// The shape of a whole object of type `of`.
    pub fn form(&self) -> Form {
        let package = self.package;
        if let Some(text) = self.text.strip_prefix("[]") {
            return Form::List(Shape { package, text });
        }
        if let Some(text) = self.text.strip_prefix("{}") {
            return Form::Map(Shape { package, text });
        }
        let is_named = self.text.starts_with(|first: char| first.is_ascii_uppercase());
        match if is_named { "" } else { self.text } {
            "string" => Form::String,
            "bool" => Form::Bool,
            "int32" => Form::Int32,
            "int64" => Form::Int64,
            "double" => Form::Double,
            "bytes" => Form::Bytes,
            "time" => Form::Time,
            "micro" => Form::MicroTime,
            "quantity" => Form::Quantity,
            "intstr" => Form::IntOrString,
            _ => match self.named() {
                Some(found) if found.is_string() => Form::Named(found),
                Some(found) => Form::Struct(found),
                None => Form::Any,
            },
        }
    }

    fn named(&self) -> Option<Type> {
        match self.text.rsplit_once('.') {
            Some((package, name)) => find(package, name),
            None => self.package.find(self.text),
        }
    }

    /// What Go calls this type in its decoding errors.
    pub fn go_name(&self) -> String {
        match self.form() {
            Form::List(item) => format!("[]{}", item.go_name()),
            Form::Map(item) => match item.form() {
                Form::Quantity => "v1.ResourceList".to_owned(),
                _ => format!("map[string]{}", item.go_name()),
            },
            Form::Named(found) if found.name() == "UID" => "types.UID".to_owned(),
            Form::Struct(found) | Form::Named(found) => format!("v1.{}", found.name()),
            Form::Double => "float64".to_owned(),
            Form::Bytes => "[]uint8".to_owned(),
            Form::Time => "v1.Time".to_owned(),
            Form::MicroTime => "v1.MicroTime".to_owned(),
            Form::Quantity => "resource.Quantity".to_owned(),
            Form::IntOrString => "intstr.IntOrString".to_owned(),
            Form::Any => "runtime.RawExtension".to_owned(),
            Form::String | Form::Bool | Form::Int32 | Form::Int64 => self.text.to_owned(),
        }
    }
}
