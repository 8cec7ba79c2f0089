import { assert, describe, it } from "@effect/vitest"
import { Either } from "effect"
import * as Client from "../../src/Client.js"

describe("Client.parseUrl", () => {
  const accepted: ReadonlyArray<readonly [url: string, target: string, tls: boolean]> = [
    ["tape://localhost:7878", "localhost:7878", false],
    ["tape://localhost", "localhost:7878", false],
    ["grpc://10.0.0.1:1", "10.0.0.1:1", false],
    ["grpc://tape", "tape:7878", false],
    ["tapes://tape.example", "tape.example:443", true],
    ["tapes://tape.example:8443", "tape.example:8443", true],
    ["grpcs://tape-1.example.", "tape-1.example.:443", true],
    ["tape://[::1]:7878", "[::1]:7878", false],
    ["tapes://[2001:db8::1]", "[2001:db8::1]:443", true],
    ["tape://host:65535", "host:65535", false],
    ["unix:/run/tape.sock", "unix:/run/tape.sock", false],
    ["unix:///run/tape.sock", "unix:/run/tape.sock", false],
    ["unix:./tape.sock", "unix:./tape.sock", false]
  ]
  for (const [url, target, tls] of accepted) {
    it(`${url} is the server ${target}${tls ? " with TLS" : ""}`, () => {
      assert.deepStrictEqual(Either.getOrThrow(Client.parseUrl(url)), { _tag: "Server", url, target, tls })
    })
  }

  const embedded = [
    "sqlite:./tape.db",
    "sqlite:/var/lib/tape.db",
    "sqlite:my tape.db",
    "memory:",
    "postgres://u:p@h:5432/d",
    "postgresql://h/d?sslmode=require"
  ]
  for (const url of embedded) {
    it(`${url} is an embedded engine's`, () => {
      assert.deepStrictEqual(Either.getOrThrow(Client.parseUrl(url)), { _tag: "Embedded", url })
    })
  }

  const refused: ReadonlyArray<readonly [url: string, says: RegExp]> = [
    ["", /it is empty/],
    ["localhost:7878", /no scheme of tapes/],
    ["localhost", /no scheme of tapes/],
    ["https://tape.example", /https:\/\/ is not a scheme of tapes/],
    ["http://localhost:7878", /http:\/\/ is not/],
    ["TAPE://localhost", /TAPE:\/\/ is not/],
    ["tape:localhost", /two slashes/],
    ["tape://", /names no host/],
    ["tape://:7878", /names no host/],
    ["tape://host:", /"" is not a port/],
    ["tape://host:0", /"0" is not a port/],
    ["tape://host:65536", /is not a port/],
    ["tape://host:78x", /is not a port/],
    ["tape://host:+1", /is not a port/],
    ["tape://host:7878/", /nothing may follow/],
    ["tape://host/path", /nothing may follow/],
    ["tape://host:7878?x=1", /nothing may follow/],
    ["tape://host#x", /nothing may follow/],
    ["tape://user@host", /names a user/],
    ["tape://::1:7878", /must be in brackets/],
    ["tape://[::1", /not host or host:port/],
    ["tape://[zz]:1", /not host or host:port/],
    ["tape://[1:2]:1", /not a host name or address/],
    ["tape://ho st", /not host/],
    ["tape://-host", /not a host name/],
    ["tape://hö.st", /not a host name/],
    [" tape://host", /blanks around it/],
    ["tape://host\n", /blanks around it/],
    ["tape://ho\u0000st", /control characters/],
    ["unix:", /no socket file/],
    ["unix://relative", /absolute path/],
    ["sqlite:", /names no file/],
    ["sqlite:./folder/", /names no file/],
    ["sqlite:///abs.db", /write sqlite:\/absolute/],
    ["sqlite::memory:", /write memory:/],
    ["memory:x", /nothing may follow memory:/],
    ["postgres:h", /not a PostgreSQL URL/]
  ]
  for (const [url, says] of refused) {
    it(`${JSON.stringify(url)} is refused with a sentence that shows the accepted forms`, () => {
      const result = Client.parseUrl(url)
      if (Either.isRight(result)) return assert.fail(JSON.stringify(result.right))
      assert.instanceOf(result.left, Client.InvalidUrl)
      assert.match(result.left.message, says)
      assert.match(result.left.message, /Accepted: tape:\/\/host\[:port\]/)
    })
  }

  it("does not repeat a password", () => {
    for (const url of ["https://user:secret@host", "https://user:p@secret@host", "https://host?password=secret"]) {
      const result = Client.parseUrl(url)
      assert.notInclude(JSON.stringify(result) + String(Either.isLeft(result) ? result.left.message : ""), "secret")
    }
  })
})
