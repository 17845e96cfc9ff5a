//! What `data` is given.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Check(CheckArgs),
}

/// Says what a data set holds and what is wrong with it, row by row, before anything is trained on
/// it. Fails if there are rows that training would refuse.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf data check pairs.jsonl --model gpt2/ --no-preview\n\nA file \
    is JSONL, a JSON array, CSV, TSV, plain text or Parquet, by its name; .gz and .zst are\n\
    decompressed. A folder, or a repository, is all its files of a split. Lengths are of a random\n\
    sample of at most 20,000 rows, in tokens where there is a model, else in characters. How rows\n\
    are read is set as for train: --set data.fields.prompt=question, --set data.format=tsv,\n\
    --set 'data.columns=[\"id\", \"text\"]', --set data.documents=lines, --set data.split=test (or\n\
    a folder of the folder, =harmless-base, =harmless-base/test). What labels mean is set too:\n\
    --set data.label=1/2 (=A/B, =-1/1, =0/1, ='{ yes = \"good\", no = \"bad\" }')."
)]
pub(crate) struct CheckArgs {
    /// A file, a folder, or a data set of the hub, owner/name[@revision].
    pub(crate) data: PathBuf,
    /// The checkpoint whose tokenizer, chat template and context count, a folder or a repository.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// A TOML file of settings: rows are checked for what its objective, its reward and its lengths want
    /// of them. Its model counts where it is a folder here and --model is not given.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Any setting, as for train. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Show no row.
    #[arg(long)]
    pub(crate) no_preview: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
