//! Conversations and their templates.

use super::*;
use std::path::Path;
use std::sync::Arc;

const CHATML: &str = "{{ bos_token }}{% for message in messages %}\n\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' -}}\n\
    {% endfor %}\n\
    {% if add_generation_prompt %}\n{{ '<|im_start|>assistant\\n' -}}\n    {% endif %}\n";

fn chatting(source: &str) -> Settings {
    let template = template(source).unwrap().unwrap();
    Settings {
        chat: Chat::Template(Arc::new(template)),
        ..settings(characters(), Some(3), Some(0))
    }
}

#[test]
fn conversations_are_rendered_by_the_template() {
    let prompt = json!([said("system", "s"), said("user", "hi ")]);
    let whole = |answer: &str| json!([prompt[0], prompt[1], said("assistant", answer)]);
    let expected = "<s><|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    let rows = [
        json!({"prompt": prompt, "chosen": [said("assistant", "ok")], "rejected": [said("assistant", "")]}),
        json!({"prompt": prompt, "chosen": "ok", "rejected": ""}),
        json!({"prompt": "ignored", "chosen": whole("ok"), "rejected": whole("")}),
    ];
    for row in rows {
        let (pairs, notes) = read(chatting(CHATML), &[row], |reader, rows| reader.pairs(rows));
        let pairs = pairs.unwrap();
        let found = texts(pairs.sequences());
        assert_eq!(found[0], (expected.to_string(), "ok".into()));
        // The template writes the EOS and a line break: the EOS is kept once and ends the response.
        let ids = |index: usize| &pairs.sequences().responses()[index].ids;
        assert_eq!(
            (ids(0).len(), ids(0)[2], ids(1).as_slice()),
            (3, 3, &[3][..])
        );
        assert_eq!(pairs.sequences().prompts()[0].ids[..2], [0, 2], "one BOS");
        assert_eq!(notes.boundary_mismatches, 0);
    }
    let rows = [json!({"chosen": whole("ok"), "rejected": whole("no")})];
    let (pairs, _) = read(chatting(CHATML), &rows, |reader, rows| reader.pairs(rows));
    assert_eq!(
        texts(pairs.unwrap().sequences())[1],
        (expected.to_string(), "no".into())
    );
    let rows = [json!({"messages": whole("ok")})];
    let (read, _) = read(chatting(CHATML), &rows, |reader, rows| {
        reader.demonstrations(rows)
    });
    let read = read.unwrap();
    assert_eq!(
        (read.prompts()[0].ids.as_slice(), read.len()),
        (&[0][..], 1)
    );
    assert_eq!(read.responses()[0].ids.last(), Some(&3));
    assert_ne!(read.responses()[0].ids[0], 0, "one BOS");
}

/// The Python features that `transformers` supports in templates.
#[test]
fn templates_support_the_python_features() {
    let tools = json!({"a": [1, {"b": "é<"}], "c": null});
    for (source, expected) in [
        (
            "{%- for m in messages[::-1] -%}{{ m.content }}{%- endfor -%}",
            "yx",
        ),
        (
            "{% for m in messages %}\n  {% if loop.first %}\n{{ m['content'].upper() }}\n  {% endif %}\n{% endfor %}\n",
            "X\n",
        ),
        (
            "{{ messages[0].more | tojson }}",
            "{\"a\": [1, {\"b\": \"é<\"}], \"c\": null}",
        ),
        (
            "{{ messages[0].more.a[1] | tojson(indent=2) }}",
            "{\n  \"b\": \"é<\"\n}",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        (
            "{% for m in messages %}{%- generation -%} {{ m.content }} {% endgeneration %}{% endfor %}",
            "x y ",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ eos_token }}",
            "2<|im_end|>",
        ),
        (
            "{% for m in messages %}{% if m.content == 'y' %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
            "x",
        ),
        (
            "{{ messages[0]['content'].strip().split('x')[-1] }}{{ tools is defined }}{{ tools is none }}",
            "TrueTrue",
        ),
        (
            "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[-1].content) }}{{ range(3, 0, -1) | list }}",
            "[y][3, 2, 1]",
        ),
    ] {
        let first = json!({"role": "user", "content": "x", "more": tools});
        let row = json!({"messages": [first, said("assistant", "y")]});
        let (_folder, path) = file("x.jsonl", lines(&[row]));
        let row = rows(&path, Documents::Lines).unwrap().remove(0);
        let template = template(source).unwrap().unwrap();
        let messages = row.fields["messages"].as_array().unwrap();
        assert_eq!(
            template.render(&row, messages, false).unwrap(),
            expected,
            "{source}"
        );
    }
}

#[test]
fn a_template_may_be_a_list_or_a_file() {
    let list = json!({"chat_template": [{"name": "tool_use", "template": "no"},
        {"name": "default", "template": "{{ messages[0].content }}!"}]});
    let row = Row {
        path: Path::new("x").into(),
        line: 1,
        fields: serde_json::Map::new(),
    };
    let say = |template: &Template| template.render(&row, &[said("user", "x")], true).unwrap();
    for (name, content) in [
        ("tokenizer_config.json", list.to_string()),
        ("chat_template.json", list.to_string()),
        (
            "chat_template.jinja",
            "{{ messages[0].content }}!".to_string(),
        ),
    ] {
        let (folder, path) = file(name, content);
        assert_eq!(say(&Template::load(folder.path()).unwrap().unwrap()), "x!");
        assert_eq!(
            say(&Template::from_file(&path, folder.path()).unwrap()),
            "x!"
        );
    }
    let (folder, _) = file("tokenizer_config.json", "{}");
    assert!(Template::load(folder.path()).unwrap().is_none());
    let one = json!({"chat_template": {"other": "x"}});
    let (folder, _) = file("tokenizer_config.json", one.to_string());
    let error = Template::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("named \"default\""), "{error}");
}

#[test]
fn a_template_for_tools_is_not_used_for_other_rows() {
    let one = json!({"chat_template": {"tool_use": "{{ tools[0].name }}"}});
    let (folder, _) = file("tokenizer_config.json", one.to_string());
    let template = Template::load(folder.path()).unwrap().unwrap();
    let row = |tools: Value| Row {
        path: Path::new("x").into(),
        line: 3,
        fields: serde_json::Map::from_iter([("tools".to_string(), tools)]),
    };
    let say = |tools| template.render(&row(tools), &[said("user", "x")], true);
    assert_eq!(say(json!([{"name": "f"}])).unwrap(), "f");
    let error = say(Value::Null).unwrap_err().to_string();
    assert!(
        error.contains("x:3") && error.contains("\"default\""),
        "{error}"
    );
}
