// Shows the claims that hold the words of the search and an answer of the chosen verdict.
(() => {
  const form = document.querySelector(".fl-filter");
  const told = form.querySelector("[role=status]");
  const plain = (text) =>
    text.normalize("NFKD").replace(/\p{M}/gu, "").replace(/\s+/g, " ").toLowerCase();
  const claims = [...document.querySelectorAll(".fl-claim")].map((item) => ({
    item,
    said: plain(item.querySelector("h3").textContent),
    answers: [...item.querySelectorAll(".fl-answer")].map((answer) => ({
      answer,
      verdict: answer.dataset.verdict,
      text: plain(answer.textContent),
    })),
  }));
  const show = () => {
    const words = plain(form.elements.text.value).split(" ").filter(Boolean);
    const verdict = form.elements.verdict.value;
    let count = 0;
    for (const claim of claims) {
      let any = false;
      for (const { answer, verdict: found, text } of claim.answers) {
        const fits =
          (!verdict || found === verdict) &&
          words.every((word) => claim.said.includes(word) || text.includes(word));
        answer.hidden = !fits;
        any ||= fits;
      }
      claim.item.hidden = !any;
      count += any;
    }
    for (const section of document.querySelectorAll(".fl-claims")) {
      section.hidden = !section.querySelector(".fl-claim:not([hidden])");
    }
    told.textContent =
      count === claims.length ? `All ${count} claims` : `${count} of ${claims.length} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show(); // a browser may have kept what was chosen before
})();
