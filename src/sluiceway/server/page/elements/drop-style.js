// The style of <sluice-drop> as a constructed style sheet, which a strict policy allows. Rules of
// the page for the element itself come before these.

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host {
    --accent: var(--sluice-accent, light-dark(#0b6580, #62c4de));
    --outline: var(--sluice-outline, light-dark(#7d929c, #6d848f));
    --kept: var(--sluice-kept, light-dark(#0b6e8b, #4fb9d6));
    --arrived: var(--sluice-arrived, light-dark(#9ad0e0, #265d70));
    --track: var(--sluice-track, light-dark(#e2eaed, #26343a));
    --good: var(--sluice-good, light-dark(#17693a, #6cce94));
    --bad: var(--sluice-bad, light-dark(#b3261e, #ff9c92));
    --radius: var(--sluice-radius, 12px);
    display: block;
    position: relative;
    padding: 12px;
    border: 2px dashed var(--outline);
    border-radius: var(--radius);
  }
  :host([disabled]) { opacity: 0.6; }
  :host([hidden]), [hidden] { display: none !important; }
  .over {
    position: absolute;
    inset: -2px;
    display: grid;
    place-items: center;
    border: 3px dashed var(--accent);
    border-radius: var(--radius);
    background: color-mix(in srgb, var(--accent) 18%, Canvas);
    opacity: 0.94;
    color: CanvasText;
    font-weight: 600;
    text-align: center;
    pointer-events: none;
  }
  .panel { display: grid; grid-template-columns: minmax(0, 1fr); gap: 8px; }
  .invitation { display: flex; flex-wrap: wrap; gap: 6px 10px; align-items: center; }
  ::slotted(*) { margin-block-start: 0; }
  .icon { flex: none; inline-size: 28px; block-size: 28px; fill: none; stroke: var(--accent); }
  .icon { stroke-width: 3; stroke-linecap: round; stroke-linejoin: round; }
  .hint { flex: 0 1 auto; font-size: 0.875em; }
  @media (hover: none) and (pointer: coarse) { .hint { display: none; } }
  .progress { display: grid; grid-template-columns: minmax(0, 1fr); gap: 4px; }
  .file { margin: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .name { font-weight: 550; }
  .bar { position: relative; block-size: 8px; overflow: hidden; border-radius: 4px; }
  .bar { background: var(--track); }
  .arrived, .kept { position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 0; }
  .arrived, .kept { transition: inline-size 180ms linear; }
  .arrived { background: var(--arrived); }
  .unreported .arrived {
    background: repeating-linear-gradient(-45deg, var(--arrived) 0 4px, var(--track) 4px 7px);
  }
  .kept { background: var(--kept); }
  [data-state=done] .kept { background: var(--good); }
  .status { margin: 0; font-size: 0.875em; line-height: 1.4; overflow-wrap: anywhere; }
  [data-state=done] .status { color: var(--good); }
  [data-state=done] .status::before { content: "✓ " / ""; }
  [data-state=failed] .status { color: var(--bad); }
  [data-state=failed] .status::before { content: "! " / ""; font-weight: 800; }
  .status:empty, .file:has(:empty) { display: none; }
  .links { margin: 0; padding: 0; list-style: none; font-size: 0.875em; overflow-wrap: anywhere; }
  .link { color: var(--accent); text-underline-offset: 2px; }
  .buttons { display: flex; flex-wrap: wrap; gap: 8px; }
  .unseen {
    position: absolute;
    inline-size: 1px;
    block-size: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  button {
    min-block-size: 34px;
    padding: 0 12px;
    border: 1px solid color-mix(in srgb, currentcolor 55%, transparent);
    border-radius: 8px;
    background: transparent;
    color: inherit;
    font: inherit;
    font-size: 0.875em;
    cursor: pointer;
  }
  button:disabled { cursor: not-allowed; }
  button:not(:disabled):hover { background: color-mix(in srgb, currentcolor 8%, transparent); }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 8px; }
  @media (pointer: coarse) {
    button { min-block-size: 44px; min-inline-size: 44px; }
    .link { display: inline-block; padding-block: 11px; }
  }
  @media (prefers-reduced-motion: reduce) { .arrived, .kept { transition: none; } }
  @media (forced-colors: active) {
    .bar { border: 1px solid CanvasText; }
    .kept { background: Highlight; forced-color-adjust: none; }
    .icon { stroke: CanvasText; }
  }
`);

/** @param {ShadowRoot} root */
export function dress(root) {
  root.adoptedStyleSheets = [sheet];
}
