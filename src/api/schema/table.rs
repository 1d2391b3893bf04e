//! Reads `schema.txt`, without copying it: an index says where in the text each type is, and a type's lines are
//! parsed when its fields are first asked for, so that what nobody uses takes no memory. `tests/schema-table`
//! writes the text.

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

/// A type's place in the text.
#[derive(Debug)]
struct Spot {
    /// Of the head line.
    start: u32,
    /// Bytes of the name, with the `~` of a string type.
    name: u16,
    /// Bytes of the head line.
    head: u16,
    /// Bytes of the fields' lines, which follow it.
    body: u32,
    /// What those lines say. Every write asks some hundred types for theirs.
    fields: OnceLock<Box<[Field]>>,
}

/// A struct or string type of the table.
#[derive(Clone, Copy)]
pub struct Type {
    pub package: &'static Package,
    spot: &'static Spot,
}

/// One field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    marks: &'static str,
    // What every write asks of each field that it has or leaves out.
    is_checked: bool,
    is_atomic: bool,
    is_set: bool,
    has_keys: bool,
    has_default: bool,
}

/// The type of a field, or of the items of a list or map.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    text: &'static str,
    /// What the text names after all its `[]` and `{}`.
    named: Option<Type>,
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
                    let fields = OnceLock::new();
                    package.types.push(Spot { start: offset, name, head, body: 0, fields });
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

    /// What follows the label in its line.
    fn marks(&self) -> &'static str {
        let start = self.start as usize;
        &TEXT[start + usize::from(self.name)..start + usize::from(self.head)]
    }

    /// The fields' lines, each with the space that it begins with.
    fn body(&self) -> &'static str {
        // Past the head's newline.
        let start = self.start as usize + usize::from(self.head) + 1;
        if self.body == 0 { "" } else { &TEXT[start..start + self.body as usize] }
    }
}

impl Package {
    /// The types of the package, ordered by name.
    pub fn types(&'static self) -> impl Iterator<Item = Type> {
        self.types.iter().map(move |spot| Type { package: self, spot })
    }

    /// A type by its name.
    pub fn find(&'static self, name: &str) -> Option<Type> {
        let found = self.types.binary_search_by(|spot| spot.name().cmp(name)).ok()?;
        Some(Type { package: self, spot: &self.types[found] })
    }
}

impl Type {
    pub fn name(&self) -> &'static str {
        self.spot.name()
    }

    /// Whether it is a string type, not a struct.
    pub fn is_string(&self) -> bool {
        self.spot.label().starts_with('~')
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
        let marks = self.spot.marks();
        !marks.is_empty() && !self.is_string() && marks.split(' ').any(|word| word == mark)
    }

    /// The values a string type may have; none: any value.
    pub fn values(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        let words = if self.is_string() { self.spot.marks() } else { "" };
        let unquote = |word: &'static str| if word == "\"\"" { "" } else { word };
        words.split(' ').skip(1).map(unquote)
    }

    /// Its name in OpenAPI documents: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self) -> String {
        format!("{}.{}", self.package.openapi_prefix, self.name())
    }

    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        self.parsed().iter().copied()
    }

    pub fn field(&self, name: &str) -> Option<Field> {
        self.parsed().iter().find(|field| field.name == name).copied()
    }

    fn parsed(&self) -> &'static [Field] {
        self.spot.fields.get_or_init(|| {
            let implied = if self.is_kind() { KIND_FIELDS } else { "" };
            let lines = implied.lines().chain(self.spot.body().lines());
            lines.map(|line| Field::parse(self.package, line.trim_start())).collect()
        })
    }
}

impl std::fmt::Debug for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.package.name, self.name())
    }
}

impl Field {
    fn parse(package: &'static Package, line: &'static str) -> Field {
        let (name, rest) = line.split_once(' ').unwrap_or((line, "any"));
        let (text, marks) = rest.split_once(' ').unwrap_or((rest, ""));
        let shape = Shape { text, named: Shape::named(package, text) };
        let marked = |mark: &str| words(marks).any(|word| word == mark);
        Field {
            name,
            shape,
            marks,
            is_checked: marked("!!"),
            is_atomic: marked("atomic"),
            is_set: marked("set"),
            has_keys: words(marks).any(|word| word.starts_with("map=")),
            has_default: words(marks).any(|word| word.starts_with('=') || word.starts_with(":=")),
        }
    }

    /// The protobuf field number, with those of the embedded messages before it: `2.5`. None: an object's
    /// `apiVersion` and `kind`, and fields that are too new for the table's source of numbers.
    pub fn number(&self) -> Option<&'static str> {
        words(self.marks).find_map(|word| word.strip_prefix('#'))
    }

    /// Whether the OpenAPI document calls it required.
    pub fn is_required(&self) -> bool {
        self.is_checked || self.marked("!")
    }

    /// Whether an object without it is refused.
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// The keys that tell the items of a list of type `map` apart, joined by commas.
    pub fn list_keys(&self) -> Option<&'static str> {
        if !self.has_keys {
            return None;
        }
        words(self.marks).find_map(|word| word.strip_prefix("map="))
    }

    /// Whether something empty says more than nothing: Go has a pointer there. Of scalars only.
    pub fn is_pointer(&self) -> bool {
        self.marked("*")
    }

    /// Whether it is a list of type `set`.
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// Whether server-side apply takes it as a whole.
    pub fn is_atomic(&self) -> bool {
        self.is_atomic
    }

    /// How strategic merge patch merges it, if it does: other lists are replaced.
    pub fn merge(&self) -> Option<Merge> {
        words(self.marks).find_map(|word| match word.split_once('=') {
            Some(("merge", key)) => Some(Merge::Key(key)),
            None if word == "merge" => Some(Merge::Scalars),
            _ => None,
        })
    }

    fn marked(&self, mark: &str) -> bool {
        words(self.marks).any(|word| word == mark)
    }

    /// Whether its patch strategy is `retainKeys`.
    pub fn retains_keys(&self) -> bool {
        self.marked("retain")
    }

    /// What it is when the client leaves it out.
    pub fn default(&self) -> Option<Default> {
        if !self.has_default {
            return None;
        }
        words(self.marks).find_map(|word| {
            if let Some(json) = word.strip_prefix(":=") {
                return Some(Default { json, replaces_empty: true });
            }
            word.strip_prefix('=').map(|json| Default { json, replaces_empty: false })
        })
    }
}

fn words(marks: &'static str) -> impl Iterator<Item = &'static str> {
    marks.split(' ')
}

impl Shape {
    /// What it says.
    pub fn form(&self) -> Form {
        let named = self.named;
        if let Some(text) = self.text.strip_prefix("[]") {
            return Form::List(Shape { text, named });
        }
        if let Some(text) = self.text.strip_prefix("{}") {
            return Form::Map(Shape { text, named });
        }
        if let Some(named) = named {
            return if named.is_string() { Form::Named(named) } else { Form::Struct(named) };
        }
        match self.text {
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
            _ => Form::Any,
        }
    }

    /// The type that `text` names; None: one that the table's format knows by itself.
    fn named(package: &'static Package, text: &str) -> Option<Type> {
        let name = text.trim_start_matches(['[', ']', '{', '}']);
        match name.rsplit_once('.') {
            Some((package, name)) => find(package, name),
            None => package.find(name),
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
