//! One file, from the hub into the cache.

use crate::cache::{Folder, make_folder_of};
use crate::checksum::Etag;
use crate::retry::{Attempt, Failure};
use crate::transport::{Ask, Transport, header};
use crate::url::escaped;
use crate::{Error, Kind, Progress, Repository, Result, Settings};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use ureq::Body;
use ureq::http::Response;

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// Fetches the files of one commit.
pub(crate) struct Download<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) settings: &'a Settings,
    /// At the commit.
    pub(crate) repository: &'a Repository,
    pub(crate) commit: &'a str,
    pub(crate) folder: &'a Folder,
}

/// What the hub says of a file.
struct Description {
    etag: Etag,
    size: Option<u64>,
}

/// A file that is not whole yet.
struct Part {
    file: File,
    done: u64,
    /// The most there ever was of it.
    best: u64,
}

impl Download<'_> {
    /// Sees to it that a file of the commit is in its snapshot.
    pub(crate) fn file(&self, name: &str, watch: &mut dyn Progress) -> Result<()> {
        if self.folder.file(self.commit, name).exists() {
            return Ok(());
        }
        let what = format!("{name} of {}", self.repository);
        let retry = self.settings.retry;
        let described = retry.run(&what, watch, |_| self.describe(name, &what))?;
        let blob = self.folder.blob(&described.etag);
        let there = || {
            let length = fs::metadata(&blob).map(|data| data.len());
            length.is_ok_and(|length| described.size.is_none_or(|size| size == length))
        };
        if !there() {
            let _lock = self.folder.lock(&described.etag, &what, watch)?;
            if !there() {
                self.transfer(name, &what, &described, &blob, watch)?;
            }
        }
        self.folder.link(self.commit, name, &described.etag)
    }

    fn address(&self, name: &str) -> String {
        let kind = match self.repository.kind() {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        let path: Vec<String> = name.split('/').map(escaped).collect();
        let (endpoint, repository) = (&self.settings.endpoint, self.repository.name());
        format!(
            "{endpoint}/{kind}{repository}/resolve/{}/{}",
            self.commit,
            path.join("/")
        )
    }

    fn describe(&self, name: &str, what: &str) -> Attempt<Description> {
        let response = self.transport.ask(Ask::Head, &self.address(name), what)?;
        let other = header(&response, "x-repo-commit").filter(|commit| *commit != self.commit);
        if let Some(commit) = other {
            let why = format!("the hub answers for another commit, {commit}");
            return Err(Error::answer(what, why).into());
        }
        let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
        let etag = etag.and_then(Etag::parse);
        let etag = etag.ok_or_else(|| Error::answer(what, "the hub names no ETag for it"))?;
        let linked = header(&response, "x-linked-size");
        let size = if response.status().is_redirection() {
            linked
        } else {
            linked.or_else(|| header(&response, "content-length"))
        };
        Ok(Description {
            etag,
            size: size.and_then(|text| text.trim().parse().ok()),
        })
    }

    /// Fetches a file beside its blob, and moves it there once it is whole and right.
    fn transfer(
        &self,
        name: &str,
        what: &str,
        described: &Description,
        blob: &Path,
        watch: &mut dyn Progress,
    ) -> Result<()> {
        let folder = make_folder_of(blob)?;
        let path = folder.join(format!("{}.incomplete", described.etag.as_str()));
        let mut part = Part::open(&path)?;
        let mut damaged = false;
        let retry = self.settings.retry;
        retry.run(what, watch, |watch| -> Attempt<()> {
            if described.size.is_some_and(|size| part.done > size) {
                part.restart().map_err(Error::at(&path))?;
            }
            if described.size != Some(part.done) {
                let response = self.rest(name, what, &mut part, &path)?;
                watch.begin(name, part.done, described.size);
                part.fill(response, described.size, &path, watch)?;
            }
            part.file.sync_all().map_err(Error::at(&path))?;
            let found = match described.size {
                Some(size) if size != part.done => Some(format!("that of more than {size} bytes")),
                _ => described.etag.mismatch(&path)?,
            };
            let Some(found) = found else {
                return Ok(());
            };
            part.restart().map_err(Error::at(&path))?;
            if damaged {
                let _ = fs::remove_file(&path);
                return Err(Failure::Final(Error::Damaged {
                    what: what.into(),
                    found,
                    expected: described.etag.as_str().into(),
                }));
            }
            damaged = true;
            Err(Failure::passing("it arrived damaged"))
        })?;
        fs::rename(&path, blob).map_err(Error::at(blob))?;
        watch.end();
        Ok(())
    }

    /// The answer that goes on where the part ends; the part begins anew where there is no such
    /// answer.
    fn rest(
        &self,
        name: &str,
        what: &str,
        part: &mut Part,
        path: &Path,
    ) -> Attempt<Response<Body>> {
        let ask = match part.done {
            0 => Ask::All,
            done => Ask::From(done),
        };
        let response = self.transport.ask(ask, &self.address(name), what)?;
        let goes_on = match response.status().as_u16() {
            206 => header(&response, "content-range").and_then(first_byte) == Some(part.done),
            _ => part.done == 0,
        };
        if !goes_on {
            part.restart().map_err(Error::at(path))?;
            if response.status() != 200 {
                return Err(Failure::passing("the hub does not go on where it stopped"));
            }
        }
        Ok(response)
    }
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        let open = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        let mut file = open.map_err(Error::at(path))?;
        let done = file.seek(SeekFrom::End(0)).map_err(Error::at(path))?;
        Ok(Self {
            file,
            done,
            best: done,
        })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.done = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// Appends a body; less than `size` is a failure that passes.
    fn fill(
        &mut self,
        response: Response<Body>,
        size: Option<u64>,
        path: &Path,
        watch: &mut dyn Progress,
    ) -> Attempt<()> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        let size = size.unwrap_or(u64::MAX);
        let why = loop {
            let read = match body.read(&mut buffer) {
                Ok(0) if self.done < size && size < u64::MAX => {
                    break format!("cut after {} of {size} bytes", self.done);
                }
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break format!("cut after {} bytes", self.done),
            };
            self.file
                .write_all(&buffer[..read])
                .map_err(Error::at(path))?;
            self.done += read as u64;
            if self.done > size {
                // The checksum is going to say so.
                return Ok(());
            }
            watch.advance(self.done);
        };
        let progress = self.done > self.best;
        self.best = self.best.max(self.done);
        Err(Failure::Passing {
            why,
            wait: None,
            progress,
        })
    }
}

/// The first byte of "bytes 5-9/10".
fn first_byte(content_range: &str) -> Option<u64> {
    let range = content_range.trim().strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}
