/**
 * Flags that the daemons share.
 */
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

export const url = Options.text("url").pipe(
  Options.withFallbackConfig(Config.nonEmptyString("TAPE_URL")),
  Options.withDefault("tape://localhost:7878"),
  Options.withDescription("The tape: tape://host:port, sqlite:path … ($TAPE_URL); $TAPE_TOKEN is its token")
)

export const once = Options.boolean("once").pipe(
  Options.withDescription("Do what is due now, print what came of it, and end: 1 if not all of it could be seen to")
)

/** A duration with its unit: `500ms`, `2s`, `1.5m`, `1h`; a bare number counts seconds. */
export const duration = (name: string) =>
  Options.text(name).pipe(
    Options.filterMap(parseDuration, `--${name} is a duration such as 500ms, 2s, 1.5m or 1h`),
    Options.withPseudoName("duration")
  )

/** Where effects are sent. */
export const connectors = {
  http: Options.text("http").pipe(
    Options.withPseudoName("name=url[,observeUrl]"),
    Options.withDescription("A connector that posts effects to a URL, and asks the other one what became of them"),
    Options.repeated,
    Options.filterMap((texts) => Option.all(texts.map(parseHttp)), "--http is name=url or name=url,observeUrl")
  ),
  log: Options.boolean("register-log-connector").pipe(
    Options.withDescription('A connector "log" that writes effects to a file')
  ),
  logPath: Options.text("log-connector-path").pipe(
    Options.withDefault("tape-outbox.jsonl"),
    Options.withDescription("The file of the log connector")
  ),
  load: Options.text("load").pipe(
    Options.withPseudoName("module.js"),
    Options.withDescription("A program's module: exports any of layer (connectors, services), tools and apps"),
    Options.repeated
  )
}

/**
 * A flag that is to be given with a value, and has none: of one that may be repeated, the parser takes a value that is
 * missing or empty for no flag at all.
 */
export const withoutValue = (args: ReadonlyArray<string>): string | undefined =>
  args.find((arg, index) => /^--(?:http|http-origin|load)=?$/.test(arg) && (arg.endsWith("=") || !args[index + 1]))

export interface ConnectorFlags {
  readonly http: ReadonlyArray<HttpFlag>
  readonly log: boolean
  readonly logPath: string
  readonly load: ReadonlyArray<string>
}

export interface HttpFlag {
  readonly name: string
  readonly url: string
  readonly observeUrl: string | undefined
}

// ---- internal ----

const units: { readonly [unit: string]: number } = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

function parseDuration(text: string): Option.Option<Duration.Duration> {
  const [, amount = "", unit = "s"] = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?$/.exec(text.trim()) ?? []
  const millis = Number(amount) * (units[unit] ?? 0)
  return millis > 0 ? Option.some(Duration.millis(millis)) : Option.none()
}

function parseHttp(text: string): Option.Option<HttpFlag> {
  const [, name = "", url = "", observeUrl] = /^([^=]+)=([^,]+)(?:,(.+))?$/.exec(text) ?? []
  return name === "" ? Option.none() : Option.some({ name, url, observeUrl })
}
