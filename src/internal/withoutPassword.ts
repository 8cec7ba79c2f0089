/** The URL of a tape or a store as it may be shown: without the password. A malformed one loses more rather than less. */
export const withoutPassword = (url: string): string =>
  url
    .replace(/^(?<user>[^:]*:\/\/[^:/?#]*):.*@/s, "$<user>@")
    .replace(/(?<name>[?&](?:password|sslpassword)=)[^&#]*/gi, "$<name>…")
