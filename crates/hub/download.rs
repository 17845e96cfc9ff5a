//! Downloads one file from the hub into the cache.

use crate::cache::{Folder, make_folder_of};
use crate::checksum::Etag;
use crate::retry::{Attempt, Failure};
use crate::transport::{RequestKind, Transport, header};
use crate::url::escaped;
use crate::{Error, Kind, Progress, Repository, Result, Settings};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use ureq::Body;
use ureq::http::Response;

/// The buffer size, in bytes.
const BUFFER: usize = 1 << 16;

/// Downloads the files of one commit.
pub(crate) struct Download<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) settings: &'a Settings,
    /// The repository at the commit.
    pub(crate) repository: &'a Repository,
    pub(crate) commit: &'a str,
    pub(crate) folder: &'a Folder,
}

/// The hub's information about a file.
struct FileInfo {
    etag: Etag,
    size: Option<u64>,
}

/// A partially downloaded file.
struct PartialFile {
    file: File,
    done: u64,
    /// The largest size reached so far, in bytes.
    max_done: u64,
}

impl Download<'_> {
    /// Ensures that a file of the commit is in its snapshot.
    pub(crate) fn file(&self, name: &str, progress: &mut dyn Progress) -> Result<()> {
        if self.folder.file(self.commit, name).exists() {
            return Ok(());
        }
        let what = format!("{name} of {}", self.repository);
        let retry = self.settings.retry;
        let info = retry.run(&what, progress, |_| self.file_info(name, &what))?;
        let blob = self.folder.blob(&info.etag);
        let is_cached = || {
            let length = fs::metadata(&blob).map(|data| data.len());
            length.is_ok_and(|length| info.size.is_none_or(|size| size == length))
        };
        if !is_cached() {
            let _lock = self.folder.lock(&info.etag, &what, progress)?;
            if !is_cached() {
                self.transfer(name, &what, &info, &blob, progress)?;
            }
        }
        self.folder.link(self.commit, name, &info.etag)
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

    fn file_info(&self, name: &str, what: &str) -> Attempt<FileInfo> {
        let response = self
            .transport
            .send(RequestKind::Head, &self.address(name), what)?;
        let other = header(&response, "x-repo-commit").filter(|commit| *commit != self.commit);
        if let Some(commit) = other {
            let why = format!("the response is for another commit, {commit}");
            return Err(Error::invalid_response(what, why).into());
        }
        let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
        let etag = etag.and_then(Etag::parse);
        let etag =
            etag.ok_or_else(|| Error::invalid_response(what, "the response has no valid ETag"))?;
        let linked = header(&response, "x-linked-size");
        let size = if response.status().is_redirection() {
            linked
        } else {
            linked.or_else(|| header(&response, "content-length"))
        };
        Ok(FileInfo {
            etag,
            size: size.and_then(|text| text.trim().parse().ok()),
        })
    }

    /// Downloads a file next to its blob, and renames it once it is complete and its checksum is
    /// correct.
    fn transfer(
        &self,
        name: &str,
        what: &str,
        info: &FileInfo,
        blob: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let folder = make_folder_of(blob)?;
        let path = folder.join(format!("{}.incomplete", info.etag.as_str()));
        let mut part = PartialFile::open(&path)?;
        let mut damaged = false;
        let retry = self.settings.retry;
        retry.run(what, progress, |progress| -> Attempt<()> {
            if info.size.is_some_and(|size| part.done > size) {
                part.restart().map_err(Error::at(&path))?;
            }
            if info.size != Some(part.done) {
                let response = self.request_rest(name, what, &mut part, &path)?;
                progress.begin(name, part.done, info.size);
                part.append(response, info.size, &path, progress)?;
            }
            part.file.sync_all().map_err(Error::at(&path))?;
            let found = match info.size {
                Some(size) if size != part.done => Some(format!("that of more than {size} bytes")),
                _ => info.etag.mismatch(&path)?,
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
                    expected: info.etag.as_str().into(),
                }));
            }
            damaged = true;
            Err(Failure::temporary("the download was damaged"))
        })?;
        fs::rename(&path, blob).map_err(Error::at(blob))?;
        progress.end();
        Ok(())
    }

    /// Requests the bytes after the partial file; starts over if the response does not continue
    /// there.
    fn request_rest(
        &self,
        name: &str,
        what: &str,
        part: &mut PartialFile,
        path: &Path,
    ) -> Attempt<Response<Body>> {
        let kind = match part.done {
            0 => RequestKind::All,
            done => RequestKind::From(done),
        };
        let response = self.transport.send(kind, &self.address(name), what)?;
        let continues = match response.status().as_u16() {
            206 => header(&response, "content-range").and_then(first_byte) == Some(part.done),
            _ => part.done == 0,
        };
        if !continues {
            part.restart().map_err(Error::at(path))?;
            if response.status() != 200 {
                return Err(Failure::temporary(
                    "the response does not continue where the download stopped",
                ));
            }
        }
        Ok(response)
    }
}

impl PartialFile {
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
            max_done: done,
        })
    }

    fn restart(&mut self) -> io::Result<()> {
        self.done = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// Appends a body. Fewer than `size` bytes are a temporary failure.
    fn append(
        &mut self,
        response: Response<Body>,
        size: Option<u64>,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Attempt<()> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        let size = size.unwrap_or(u64::MAX);
        let why = loop {
            let read = match body.read(&mut buffer) {
                Ok(0) if self.done < size && size < u64::MAX => {
                    break format!("interrupted after {} of {size} bytes", self.done);
                }
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break format!("interrupted after {} bytes", self.done),
            };
            self.file
                .write_all(&buffer[..read])
                .map_err(Error::at(path))?;
            self.done += read as u64;
            if self.done > size {
                // The checksum check will report it.
                return Ok(());
            }
            progress.advance(self.done);
        };
        let progressed = self.done > self.max_done;
        self.max_done = self.max_done.max(self.done);
        Err(Failure::Temporary {
            why,
            wait: None,
            progressed,
        })
    }
}

/// The first byte of "bytes 5-9/10".
fn first_byte(content_range: &str) -> Option<u64> {
    let range = content_range.trim().strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}
