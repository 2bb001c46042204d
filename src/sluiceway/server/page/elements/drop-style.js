// The style of <sluice-drop> as a constructed style sheet, which a strict policy allows.

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host {
    --kept: var(--sluice-kept, light-dark(#0b6e8b, #4fb9d6));
    --arrived: var(--sluice-arrived, light-dark(#9ad0e0, #265d70));
    --track: var(--sluice-track, light-dark(#e2eaed, #26343a));
    --good: var(--sluice-good, light-dark(#17693a, #6cce94));
    --bad: var(--sluice-bad, light-dark(#b3261e, #ff9c92));
    display: block;
    position: relative;
    border-radius: 10px;
  }
  :host([hidden]), [hidden] { display: none !important; }
  .over { position: absolute; inset: -4px; border: 2px dashed var(--kept); border-radius: 12px; pointer-events: none; }
  .over { background: color-mix(in srgb, var(--kept) 12%, transparent); }
  .line { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center; margin-block-start: 6px; }
  .bar { position: relative; flex: 1 0 100%; block-size: 4px; overflow: hidden; border-radius: 2px; background: var(--track); }
  .arrived, .kept { position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 0; transition: inline-size 180ms linear; }
  .arrived { background: var(--arrived); }
  .unreported .arrived { background: repeating-linear-gradient(-45deg, var(--arrived) 0 4px, var(--track) 4px 7px); }
  .kept { background: var(--kept); }
  [data-state=done] .kept { background: var(--good); }
  .status { flex: 1 1 8em; margin: 0; font-size: 0.875em; line-height: 1.4; overflow-wrap: anywhere; }
  [data-state=done] .status { color: var(--good); }
  [data-state=failed] .status { color: var(--bad); }
  .status:empty { display: none; }
  .unseen { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  button {
    min-block-size: 32px;
    padding: 0 12px;
    border: 1px solid color-mix(in srgb, currentcolor 55%, transparent);
    border-radius: 8px;
    background: transparent;
    color: inherit;
    font: inherit;
    font-size: 0.875em;
    cursor: pointer;
  }
  button:hover { background: color-mix(in srgb, currentcolor 8%, transparent); }
  button:focus-visible { outline: 3px solid var(--kept); outline-offset: 2px; }
  @media (pointer: coarse) { button { min-block-size: 44px; min-inline-size: 44px; } }
  @media (prefers-reduced-motion: reduce) { .arrived, .kept { transition: none; } }
  @media (forced-colors: active) {
    .bar { border: 1px solid CanvasText; }
    .kept { background: Highlight; forced-color-adjust: none; }
  }
`);

/** @param {ShadowRoot} root */
export function dress(root) {
  root.adoptedStyleSheets = [sheet];
}
