//! The arguments of `data`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Check(CheckArgs),
}

/// Reports the contents and the problems of a data set before training, row by row. Fails if training would
/// refuse any row.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf data check pairs.jsonl --model gpt2/ --no-preview\n\nThe name of \
    a file tells its format: JSONL, a JSON array, CSV, TSV, plain text or Parquet;\n.gz and .zst are \
    decompressed. Of a folder or repository, all files of a split are read. Lengths\nare measured on a \
    random sample of at most 20,000 rows, in tokens if a model is given, else in\ncharacters. Settings \
    are as for train: --set data.fields.prompt=question, --set data.format=tsv,\n\
    --set 'data.columns=[\"id\", \"text\"]', --set data.documents=lines, --set data.split=test (or\n\
    a subfolder, =harmless-base, =harmless-base/test), and the values of labels:\n\
    --set data.label=1/2 (=A/B, =-1/1, =0/1, ='{ yes = \"good\", no = \"bad\" }')."
)]
pub(crate) struct CheckArgs {
    /// A file, a folder, or a data set of the hub, owner/name[@revision].
    pub(crate) data: PathBuf,
    /// The checkpoint with the tokenizer, chat template and context to check with, a folder or a repository.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// A TOML file of settings: rows are checked against its objective, reward and lengths. Its model is
    /// used if it is a local folder and --model is not given.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Any setting, as for train. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Do not print sample rows.
    #[arg(long)]
    pub(crate) no_preview: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
