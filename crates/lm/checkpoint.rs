//! Reading a checkpoint's tensors: one `model.safetensors`, or shards with an index.

use crate::error::{Error, Result};
use crate::file_order::{FileOrder, FileOrders};
use rlhf_device::{Device, Dtype as Held, MappedFile};
use rlhf_tensor::{ParameterId, ParameterSpec, Parameters};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file of the network's tensors.
pub(crate) const MODEL: &str = "model.safetensors";
/// The file of the value head's.
pub(crate) const CRITIC: &str = "critic.safetensors";
/// Values read at a time.
const PIECE: usize = 1 << 18;
/// The types of number that are read.
const READ: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];
const INDEX: &str = "model.safetensors.index.json";

/// What a tensor of a file is called where parameters are listed; none for one that holds no weights.
pub(crate) type Canonical = fn(&str) -> Option<String>;

/// The tensors of some files, by their canonical names; nothing but headers is read until a tensor
/// is asked for.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// The file that says which tensors there are.
    config: &'static str,
    /// What errors about the whole name.
    path: PathBuf,
    files: Vec<(PathBuf, MappedFile)>,
    entries: BTreeMap<String, Entry>,
}

/// Where one tensor is.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in the file.
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    file: usize,
    bytes: Range<usize>,
}

impl Entry {
    /// How many values it has.
    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Tensors {
    /// The network of a folder.
    pub(crate) fn open_model(folder: &Path, names: Canonical) -> Result<Self> {
        let (single, index) = (folder.join(MODEL), folder.join(INDEX));
        if single.exists() {
            return Self::open(&single, std::slice::from_ref(&single), names);
        }
        if index.exists() {
            return Self::open_shards(folder, &index, names);
        }
        let message = match folder.join("pytorch_model.bin").exists() {
            true => {
                "is missing: there is a pytorch_model.bin only; load it in Python and save it \
                 with safe_serialization=True"
            }
            false => "is missing: this folder has no weights",
        };
        Err(Error::invalid(&single, message))
    }

    /// The value head of a folder, if it has one.
    pub(crate) fn open_critic(folder: &Path, names: Canonical) -> Result<Option<Self>> {
        let path = folder.join(CRITIC);
        match path.exists() {
            true => Self::open(&path, std::slice::from_ref(&path), names).map(Some),
            false => Ok(None),
        }
    }

    fn open_shards(folder: &Path, index: &Path, names: Canonical) -> Result<Self> {
        let text = std::fs::read_to_string(index).map_err(Error::io(index))?;
        let json: Value =
            serde_json::from_str(&text).map_err(|error| Error::invalid(index, error))?;
        let map = json["weight_map"]
            .as_object()
            .ok_or_else(|| Error::invalid(index, "has no `weight_map` object"))?;
        let mut shards = BTreeSet::new();
        for (tensor, file) in map {
            match file.as_str() {
                Some(file) if Path::new(file).file_name().is_some_and(|name| name == file) => {
                    shards.insert(folder.join(file));
                }
                _ => {
                    let message = format!("`{tensor}` is in {file}, which is not a file's name");
                    return Err(Error::invalid(index, message));
                }
            }
        }
        let tensors = Self::open(index, &shards.into_iter().collect::<Vec<_>>(), names)?;
        for (tensor, file) in map {
            let Some(name) = names(tensor) else {
                continue;
            };
            let found = tensors.entries.get(&name).is_some_and(|entry| {
                let path = &tensors.files[entry.file].0;
                Some(path.as_path()) == file.as_str().map(|file| folder.join(file)).as_deref()
            });
            if !found {
                let message = format!("says that `{tensor}` is in {file}, where it is not");
                return Err(Error::invalid(index, message));
            }
        }
        Ok(tensors)
    }

    /// The tensors of one file, which `config` describes.
    pub(crate) fn open_file(path: &Path, config: &'static str, names: Canonical) -> Result<Self> {
        let tensors = Self::open(path, &[path.into()], names)?;
        Ok(Self { config, ..tensors })
    }

    fn open(path: &Path, files: &[PathBuf], names: Canonical) -> Result<Self> {
        let mut tensors = Self {
            config: "config.json",
            path: path.into(),
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        for path in files {
            tensors.add(path, names)?;
        }
        Ok(tensors)
    }

    fn add(&mut self, path: &Path, names: Canonical) -> Result<()> {
        let map = MappedFile::open(path).map_err(Error::io(path))?;
        if map.starts_with(b"version https://git-lfs") {
            let message = "is a pointer of Git LFS, not the file: fetch it with `git lfs pull`";
            return Err(Error::invalid(path, message));
        }
        // Checks that the tensors fill the file exactly, so every later size is bounded by it.
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            Error::invalid(
                path,
                format!("is not a whole safetensors file ({error}): download or write it again"),
            )
        })?;
        let start = 8 + header;
        // In order, so that errors are the same each time.
        for (name, info) in BTreeMap::from_iter(metadata.tensors()) {
            let Some(canonical) = names(&name) else {
                continue;
            };
            let (from, to) = info.data_offsets;
            let entry = Entry {
                name: name.clone(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                file: self.files.len(),
                bytes: start + from..start + to,
            };
            if let Some(other) = self.entries.insert(canonical, entry) {
                let message = format!("has `{name}`, which `{}` is already", other.name);
                return Err(Error::invalid(path, message));
            }
        }
        self.files.push((path.into(), map));
        Ok(())
    }

    /// All tensors with the file each is in, by canonical name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries
            .values()
            .map(|entry| (self.files[entry.file].0.as_path(), entry))
    }

    /// Checks that the tensors are those of `specs`, apart from `optional` ones: none missing, none
    /// left over, all of the right shape.
    pub(crate) fn check(&self, specs: &[ParameterSpec], optional: &[&str]) -> Result<()> {
        for spec in specs {
            let Some(entry) = self.entries.get(&spec.name) else {
                let message = format!(
                    "has no tensor `{}` of shape {:?}, which {} asks for",
                    spec.name, spec.shape, self.config
                );
                return Err(Error::invalid(&self.path, message));
            };
            if entry.shape != spec.shape {
                let message = format!(
                    "tensor `{}` has shape {:?}, but {} asks for {:?}{}",
                    entry.name,
                    entry.shape,
                    self.config,
                    spec.shape,
                    match entry.shape.iter().rev().eq(&spec.shape) {
                        true => ": transpose it",
                        false => "",
                    }
                );
                return Err(Error::invalid(&self.files[entry.file].0, message));
            }
        }
        for entry in specs.iter().filter_map(|spec| self.entries.get(&spec.name)) {
            if !READ.contains(&entry.dtype) {
                let path = &self.files[entry.file].0;
                return Err(Error::invalid(path, unread(entry)));
            }
        }
        let known: BTreeSet<&str> = specs
            .iter()
            .map(|spec| spec.name.as_str())
            .chain(optional.iter().copied())
            .collect();
        match self
            .entries
            .iter()
            .find(|(name, _)| !known.contains(name.as_str()))
        {
            None => Ok(()),
            Some((_, entry)) => Err(Error::invalid(
                &self.files[entry.file].0,
                format!(
                    "has a tensor `{}` of shape {:?}, which {} has no place for",
                    entry.name, entry.shape, self.config
                ),
            )),
        }
    }

    /// Whether a tensor of this canonical name is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of a tensor, if it is there.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.shape[..])
    }

    /// Copies a tensor into a parameter, of the same number of values, to the nearest number there is.
    /// Little of the file is in memory at a time, and none when it is done.
    pub(crate) fn copy<D: Device>(
        &self,
        name: &str,
        into: &mut Parameters<D>,
        id: ParameterId,
        order: FileOrder,
    ) -> Result<()> {
        let entry = self.entry(name, into.spec(id).shape.iter().product())?;
        let refuse = |message: String| {
            let message = format!("tensor `{name}` has the value {message}");
            Err(Error::invalid(&self.files[entry.file].0, message))
        };
        let halved = into.dtype(id) == Held::Bf16;
        self.pieces(entry, order, |start, values| {
            if let Some(x) = values.iter().find(|x| !x.is_finite()) {
                return refuse(format!(
                    "{x}: this checkpoint is spoiled, take an earlier one"
                ));
            }
            let beyond = |x: &&f32| !half::bf16::from_f32(**x).is_finite();
            if let Some(x) = values.iter().find(beyond).filter(|_| halved) {
                return refuse(format!(
                    "{x:e}, which is beyond bf16: hold this network in f32"
                ));
            }
            into.write(id, start, values);
            Ok(())
        })
    }

    /// Whether two tensors have the same values; they must have the same shape.
    pub(crate) fn same(&self, one: &str, other: &str) -> Result<bool> {
        let count = |name| self.entries.get(name).map_or(0, Entry::count);
        let (one, other) = (self.entry(one, count(one))?, self.entry(other, count(one))?);
        let (mut same, mut read) = (true, Vec::new());
        self.pieces(one, FileOrder::Same, |start, values| {
            read.resize(values.len(), 0.0);
            self.decode(other, start, &mut read)?;
            same &= read == values;
            Ok(())
        })?;
        Ok(same)
    }

    /// The tensor of this name, which has so many values.
    fn entry(&self, name: &str, count: usize) -> Result<&Entry> {
        let Some(entry) = self.entries.get(name) else {
            let message = format!("has no tensor `{name}`");
            return Err(Error::invalid(&self.path, message));
        };
        if entry.count() != count {
            let message = format!("tensor `{name}` has shape {:?}", entry.shape);
            return Err(Error::invalid(&self.files[entry.file].0, message));
        }
        Ok(entry)
    }

    /// A tensor in f32, some values at a time: where they start in a parameter, and what they are.
    fn pieces(
        &self,
        entry: &Entry,
        order: FileOrder,
        mut each: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let count = entry.count();
        let unit = order.unit(count).max(1);
        let mut values = vec![0.0; PIECE.min(unit)];
        for (index, start) in (0..count).step_by(unit).enumerate() {
            for from in (0..unit).step_by(PIECE) {
                let values = &mut values[..PIECE.min(unit - from)];
                self.decode(entry, start + from, values)?;
                each(order.place(index) * unit + from, values)?;
            }
        }
        Ok(())
    }

    /// The values of a tensor from `start` on. The pages that they were read from are given back.
    fn decode(&self, entry: &Entry, start: usize, into: &mut [f32]) -> Result<()> {
        let (path, map) = &self.files[entry.file];
        let size = match entry.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            _ => return Err(Error::invalid(path, unread(entry))),
        };
        let start = entry.bytes.start + size * start;
        let range = start..start + size * into.len();
        let bytes = &map[range.clone()];
        match entry.dtype {
            Dtype::F32 => convert(bytes, into, f32::from_le_bytes),
            Dtype::F16 => convert(bytes, into, |b| half::f16::from_le_bytes(b).to_f32()),
            _ => convert(bytes, into, |b| half::bf16::from_le_bytes(b).to_f32()),
        }
        map.release(range);
        Ok(())
    }

    /// Fills parameters from these tensors, once [`check`](Self::check)ed. Those that are not there stay
    /// as they are.
    pub(crate) fn fill<D: Device>(
        &self,
        parameters: &mut Parameters<D>,
        orders: &FileOrders,
    ) -> Result<()> {
        for id in parameters.ids() {
            let name = parameters.spec(id).name.clone();
            if self.contains(&name) {
                self.copy(&name, parameters, id, orders.get(&name))?;
            }
        }
        Ok(())
    }
}

fn unread(entry: &Entry) -> String {
    let (name, dtype) = (&entry.name, entry.dtype);
    format!("tensor `{name}` is of type {dtype:?}: only F32, F16 and BF16 are read")
}

fn convert<const N: usize>(bytes: &[u8], into: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (bytes, into) in bytes.as_chunks::<N>().0.iter().zip(into) {
        *into = value(*bytes);
    }
}
